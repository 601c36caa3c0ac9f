//! What the admin API answers, as its contract has it.

const STATUS: &str = r#"{"larder":"0.1.0","now":1795280000.5,"uptime_seconds":1234.5,
 "access":{"level":"full","tenant":null,"name":"token"},
 "caches":[{"name":"default","namespace":"shop","version":"2026-11","health":"healthy","problems":[],
   "memory":{"used_bytes":123456,"limit_bytes":67108864,"resources":321,"evictions":4},
   "fills":0,"background":0,"writes_waiting":0,
   "stores":[{"name":"redis","up":true,"hits":10,"misses":3,"writes":9,"dropped":0,"reasons":{"timeout":1},
     "used_bytes":1000000,"limit_bytes":null,"evicted":0,
     "latency":{"p50_seconds":0.0001,"p95_seconds":0.0004,"p99_seconds":0.001}}],
   "log":{"kind":"shared","read":7,"sent":2,"waiting":0,"gaps":1,"unreadable":0,"foreign":0,"failures":0,
     "since_contact_seconds":0.004},
   "values":["gold_rate"],
   "warmer":{"categories":[{"name":"dashboard","priority":1,"targets":null},
     {"name":"dropdown","priority":2,"targets":12}],"running":null}}]}"#;

/// Two caches, the second of which cannot be warmed.
pub(crate) const TWO_CACHES: &str = r#"{"larder":"0.1.0","now":1795280000.5,"uptime_seconds":1.0,
 "access":{"level":"full","tenant":null,"name":"token"},
 "caches":[{"name":"api","namespace":"shop-api","version":null,"health":"healthy","problems":[],"memory":{},
   "stores":[],"log":{"kind":"local"},"values":[],"warmer":{"categories":[{"name":"dashboard"}],"running":null}},
  {"name":"query","namespace":"shop-query","version":null,"health":"degraded","problems":["redis is away"],"memory":{},
   "stores":[],"log":{"kind":"local"},"values":[],"warmer":null}]}"#;

const TALLY: &str = r#"{"hits":900,"stale":10,"revalidated":5,"misses":80,"collapsed":5,"bypasses":12,"stored":78,
 "not_stored":3,"refreshes":9,"failed_refreshes":0,"timeouts":0,"invalidations":2,"evictions":1,"lookup_hit_ratio":0.915,
 "hit_ratio":0.904,"saved_seconds":45.2,"saved_bytes":912345,
 "hit_latency":{"count":14,"p50_seconds":1.1e-6,"p95_seconds":2e-6,"p99_seconds":3e-6},
 "miss_latency":{"count":80,"p50_seconds":0.05,"p95_seconds":0.08,"p99_seconds":0.12},
 "bypass_reasons":{"cookie":12},"not_stored_reasons":{"set-cookie":3}}"#;

const METRICS: &str = r#"{"caches":[{"name":"default","total":TALLY,"windows":{"1m":TALLY,"5m":TALLY,"1h":TALLY},
  "policies":[{"name":"dashboard","kind":"response","objective":{"lookup_hit_ratio":0.8,"p95_seconds":0.5,"met":true},
     "total":TALLY,"windows":{"1m":TALLY,"5m":TALLY,"1h":TALLY},"entries":12,"entry_bytes":34567},
    {"name":"gold_rate","kind":"value","objective":{"lookup_hit_ratio":0.99,"p95_seconds":null,"met":false},
     "total":TALLY,"windows":{"1m":TALLY,"5m":TALLY,"1h":TALLY},"entries":1,"entry_bytes":99}],
  "tenants":[{"name":"1","total":PART,"windows":{"1m":PART,"5m":PART,"1h":PART}}],
  "tags":[{"name":"dashboard","entries":3,"entry_bytes":1234}],
  "patterns":[{"name":"/products/*","entries":3,"entry_bytes":1234}],
  "uncacheable":[{"route":"/cart","policy":"default","reason":"set-cookie","count":33,"advice":"strip it"}]}]}"#;

const PROMETHEUS: &str = "# TYPE http_cache_requests_total counter\nhttp_cache_requests_total{cache=\"default\"} 900\n";

const HISTORY: &str = r#"{"cache":"default","step_seconds":600,"samples":[
  {"at":1795000000,"hits":1,"stale":0,"revalidated":0,"misses":1,"collapsed":0,"bypasses":0,"stored":1,"invalidations":0,
   "evictions":0,"used_bytes":1,"hit_p50_seconds":null,"hit_p95_seconds":null,"miss_p50_seconds":null,
   "miss_p95_seconds":null,"log_lag_seconds":null},
  {"at":1795279400,"hits":90,"stale":1,"revalidated":0,"misses":8,"collapsed":0,"bypasses":1,"stored":8,
   "invalidations":0,"evictions":0,"used_bytes":123456,"hit_p50_seconds":1e-6,"hit_p95_seconds":2e-6,
   "miss_p50_seconds":0.05,"miss_p95_seconds":0.08,"log_lag_seconds":0.003},
  {"at":1795280000,"hits":10,"stale":0,"revalidated":0,"misses":1,"collapsed":0,"bypasses":0,"stored":1,
   "invalidations":3,"evictions":0,"used_bytes":200000,"hit_p50_seconds":1e-6,"hit_p95_seconds":2e-6,
   "miss_p50_seconds":0.05,"miss_p95_seconds":0.2,"log_lag_seconds":null}]}"#;

const POLICIES: &str = r#"{"caches":[{"name":"default","policies":[{"name":"dashboard","kind":"response",
  "route":"/dashboard","settings":[{"name":"fresh_for","value":"10 min","default":false},
   {"name":"max_variants","value":"32","default":true}],"depends_on":["People"],"tags":["dashboard"],"objective":null,
  "warnings":["no scope is named"]}]}]}"#;

const ENTRY_ROW: &str = r#""id":"4f2a","key":"shop:v2026-11:tenant=1:dashboard:GET:https://shop.example/dashboard?days=30",
  "kind":"response","policy":"dashboard","tenant":"1","status":200,"size_bytes":1234,"age_seconds":12.5,
  "ttl_seconds":47.5,"stale":false,"hits":33,"tags":["dashboard","org:1"],"variants":1,"validators":["etag"]"#;

const DEPENDENCIES: &str = r#"{"cache":"default","nodes":[{"id":"name:People","label":"People","kind":"name"},
  {"id":"tag:dashboard","label":"dashboard","kind":"tag"},
  {"id":"policy:dashboard","kind":"policy","label":"dashboard"},{"id":"value:x","kind":"value","label":"x"}],
  "edges":[{"from":"name:People","to":"tag:dashboard","label":""},
   {"from":"tag:dashboard","to":"policy:dashboard","label":"tags"}]}"#;

const AUDIT: &str = r#"{"actions":[{"at":1795280000.1,"by":"token","action":"invalidate","cache":"default",
  "what":"tag dashboard, tenant 1","outcome":"ok","hits":12}]}"#;

const EXPLAIN: &str = r#"{"cache":"default","omitted":0,"explanations":[{"cache":"default","policy":"dashboard","outcome":"hit","reason":null,"key":"shop:GET:/dashboard",
  "key_parts":[{"name":"tenant","value":"1"},{"name":"path","value":"/dashboard"}],
  "steps":[{"name":"policy","text":"route /dashboard: dashboard"},{"name":"admission","text":"GET without content"},
   {"name":"freshness","text":"lifetime 60 s, age 12 s: fresh for 48 s"},{"name":"decision","text":"served"}]}]}"#;

/// Where two may be meant, and more.
pub(crate) const EXPLAIN_TWO: &str = r#"{"cache":"default","omitted":1,"explanations":[
  {"cache":"default","policy":"lists","outcome":"miss","reason":"uri-miss","key":"GET:/","key_parts":[],"steps":[]},
  {"cache":"default","policy":"own","outcome":"bypass","reason":"identity-missing","key":null,"key_parts":[],"steps":[]}]}"#;

const ADVICE: &str = r#"{"cache":"default","advice":[{"kind":"never-cacheable","severity":"warning","policy":"cart",
  "route":"/cart","text":"33 responses brought Set-Cookie","change":"Policy::strip_set_cookie()"}]}"#;

const REPORT: &str = r#"{"at":1795280000,"since":1795258400,"text":"all is well",
  "coverage":[{"tenant":"1","entries":3,"lookup_hit_ratio":0.9}],"effectiveness":TALLY,
  "bottlenecks":[{"policy":"x","text":"misses take 2 s"}],
  "regressions":[{"policy":"x","text":"lookup hit ratio fell from 90 % to 60 %"}]}"#;

/// How warming ends.
pub(crate) const WARMED: &str = r#"{"job":"3","state":"done","category":"dashboard","done":12,"of":12,"warmed":11,
  "skipped":1,"failed":0,"failures":[]}"#;

/// The answer to a GET, if there is one.
pub(crate) fn of(path: &str, query: &str) -> Option<String> {
    let sample = match path {
        "api/status" => STATUS,
        "api/metrics" if query.contains("format=prometheus") => PROMETHEUS,
        "api/metrics" => METRICS,
        "api/history" => HISTORY,
        "api/policies" => POLICIES,
        "api/explore" => return Some(page(&["4f2a"], 1, None)),
        "api/entry" => return Some(entry()),
        "api/dependencies" => DEPENDENCIES,
        "api/audit" => AUDIT,
        "api/explain" => EXPLAIN,
        "api/advice" => ADVICE,
        "api/report" => REPORT,
        "api/manage/warm" => WARMED,
        _ => return None,
    };
    // Of a tenant alone not all is known.
    let part = TALLY.replace("\"invalidations\":2,\"evictions\":1", "\"invalidations\":null,\"evictions\":null");
    Some(sample.replace("TALLY", TALLY).replace("PART", &part))
}

/// A page of keys.
pub(crate) fn page(ids: &[&str], matching: usize, cursor: Option<&str>) -> String {
    let rows: Vec<String> = ids.iter().map(|id| format!("{{{}}}", ENTRY_ROW.replace("4f2a", id))).collect();
    let cursor = serde_json::to_string(&cursor).unwrap();
    let rows = rows.join(",");
    format!(
        r#"{{"cache":"default","total":1234,"matching":{matching},"complete":true,"cursor":{cursor},"entries":[{rows}]}}"#
    )
}

fn entry() -> String {
    format!(
        r#"{{{ENTRY_ROW},"head":[["content-type","text/html"],["x-odd","a\u001b[2Jb"]],"stored_at":1795279988.0,
 "expires_at":1795280048.0,"stale_while_revalidate_seconds":0,"stale_if_error_seconds":60,"fill_seconds":0.05,
 "body":null,"body_bytes":1000,"nominated":["accept-language"]}}"#
    )
}
