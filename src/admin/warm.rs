//! Warming on demand: one job at a time, in the background.

use super::{
    answer::{Answer, Failure, Told},
    audit::Action,
    manage::{Acting, FAILED, flag, only_members, text},
    query::{short, wrong},
    service::{Admin, Asked, own_tenant},
};
use crate::{Cache, WarmProgress, WarmReport, WarmResponse, Warmer, Warming, cache::BoxError};
use http::{Request, StatusCode};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, VecDeque},
    fmt, mem,
    sync::{Arc, Mutex, PoisonError},
};
use tower_service::Service;

/// The warmer that the application gave, and what it was told to do.
pub(super) struct Warm {
    warmer: Warmer,
    start: Box<dyn Fn(&Warmer) -> Warming + Send + Sync>,
    jobs: Mutex<Jobs>,
}

/// The last jobs, the youngest last.
#[derive(Debug, Default)]
struct Jobs {
    given: u64,
    all: VecDeque<Arc<Job>>,
}

#[derive(Debug)]
struct Job {
    number: u64,
    /// For whom alone.
    tenant: Option<String>,
    state: Mutex<State>,
}

#[derive(Clone, Debug, Default)]
struct State {
    /// How many requests were counted before.
    planned: Option<u64>,
    progress: Option<WarmProgress>,
    ended: Option<Ended>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Done,
    Failed,
}

impl Warm {
    pub(super) fn new<B, S>(warmer: Warmer, service: S) -> Self
    where
        B: Default + Send + 'static,
        S: Service<Request<B>, Response: WarmResponse, Error: Into<BoxError>, Future: Send> + Clone + Send + 'static,
    {
        let service = Mutex::new(service);
        let start = move |warmer: &Warmer| {
            let service = service.lock().unwrap_or_else(PoisonError::into_inner).clone();
            warmer.run::<B>(service)
        };
        Self { warmer, start: Box::new(start), jobs: Mutex::default() }
    }

    /// Starts a job, unless one is running.
    fn begin(
        self: &Arc<Self>,
        warmer: Warmer,
        tenant: Option<String>,
        cache: &Cache,
        acting: &Acting,
    ) -> Result<u64, Failure> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| Failure::broken())?;
        let mut jobs = self.jobs();
        if let Some(running) = jobs.all.iter().find(|job| job.state().ended.is_none()) {
            let text = format!("job {} is running: one at a time is possible", running.number);
            return Err(Failure::new(StatusCode::CONFLICT, text));
        }
        jobs.given += 1;
        let job = Arc::new(Job { number: jobs.given, tenant, state: Mutex::default() });
        if jobs.all.len() >= KEPT {
            jobs.all.pop_front();
        }
        jobs.all.push_back(Arc::clone(&job));
        let (number, warm, background) = (job.number, Arc::clone(self), cache.background().clone());
        let what = format!("job {number}: {}", acting.note.what);
        let (admin, note) = (acting.admin.clone(), Action { what, ..acting.note.clone() });
        let ending = Ending { job: Arc::clone(&job), admin, note };
        runtime.spawn(async move {
            // If it is dropped on the way, with its runtime or by a panic, it has failed.
            let ending = ending;
            let work = async {
                let planned = warmer.dry_run().await.len() as u64;
                job.state().planned = Some(planned);
                let warming = (warm.start)(&warmer);
                job.state().progress = Some(warming.progress());
                let report = warming.await;
                job.state().ended = report.finished.then_some(Ended::Done);
            };
            crate::timer::until(background.closing(), work).await;
            drop(ending);
        });
        Ok(number)
    }

    fn jobs(&self) -> std::sync::MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What those see whose access is limited to a tenant, or to none.
    fn visible(&self, tenant: Option<&str>) -> Vec<Arc<Job>> {
        let jobs = self.jobs();
        jobs.all.iter().filter(|job| tenant.is_none() || job.tenant.as_deref() == tenant).cloned().collect()
    }
}

struct Ending {
    job: Arc<Job>,
    admin: Admin,
    note: Action,
}

impl Drop for Ending {
    /// That it was begun is in the trail already.
    fn drop(&mut self) {
        let ended = *self.job.state().ended.get_or_insert(Ended::Failed);
        if ended == Ended::Failed {
            self.admin.record(Action { outcome: FAILED.to_owned(), ..mem::take(&mut self.note) });
        }
    }
}

impl Job {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn told(&self) -> Value {
        let State { planned, progress, ended } = self.state().clone();
        let report = progress.map_or_else(WarmReport::default, |progress| progress.report());
        let total = report.total();
        let failures: Vec<_> =
            report.categories.iter().flat_map(|category| &category.failures).take(MOST_FAILURES).collect();
        json!({
            "job": self.number.to_string(),
            "state": match ended {
                None => "running",
                Some(Ended::Done) => "done",
                Some(Ended::Failed) => "failed",
            },
            "category": report.categories.last().map(|category| &category.name),
            "done": total.warmed + total.skipped + total.not_stored + total.failed,
            "of": planned.map(|planned| planned.max(total.asked)),
            "warmed": total.warmed,
            "skipped": total.skipped,
            "not_stored": total.not_stored,
            "failed": total.failed,
            "failures": failures,
        })
    }
}

impl Asked<'_> {
    /// What there is to warm, and whether it is being done.
    pub(super) fn warmer(&self) -> Value {
        let Some(warm) = &self.admin.warm else { return Value::Null };
        let categories = warm
            .warmer
            .priorities()
            .into_iter()
            .map(|(name, priority)| json!({ "name": name, "priority": priority, "targets": null }));
        let categories: Vec<_> = categories.collect();
        let running = warm.visible(self.access.tenant.as_deref()).into_iter().find(|job| job.state().ended.is_none());
        let running = running.map(|job| {
            let told = job.told();
            json!({ "job": told["job"], "category": told["category"], "done": told["done"], "of": told["of"] })
        });
        json!({ "categories": categories, "running": running })
    }

    /// How a job is going.
    pub(super) fn job(&self) -> Told {
        let warm = self.admin.warm.as_ref().ok_or_else(no_warmer)?;
        self.cache()?;
        let number = self.query.get("job")?.ok_or_else(|| wrong("job", "", "the number of a job"))?;
        let jobs = warm.visible(self.access.tenant.as_deref());
        let job = jobs.iter().find(|job| job.number.to_string() == number);
        let job = job.ok_or_else(|| Failure::not_found(format!("there is no job `{}` any more", short(number))))?;
        Ok(Answer::json(&job.told()))
    }
}

impl Acting {
    pub(super) async fn warm(&mut self, body: &Map<String, Value>) -> Told {
        only_members(body, &["cache", "categories", "tenant", "force", "dry_run"])?;
        let warm = self.admin.warm.clone().ok_or_else(no_warmer)?;
        let (_, cache) = self.cache(body)?;
        let (force, dry_run) = (flag(body, "force")?, flag(body, "dry_run")?);
        self.only_asks = dry_run;
        let tenant = own_tenant(&self.access, text(body, "tenant")?)?;
        let categories = categories(body, &warm.warmer)?;
        let mut warmer = warm.warmer.clone().force(force);
        let mut what = vec![if categories.is_empty() { "all".to_owned() } else { categories.join(" + ") }];
        if !categories.is_empty() {
            warmer = warmer.only(categories);
        }
        if let Some(tenant) = &tenant {
            warmer = warmer.only_tenant(tenant);
            what.push(format!("tenant {tenant}"));
        }
        what.extend(force.then(|| "force".to_owned()));
        self.note.what = what.join(", ");
        if !dry_run {
            let job = warm.begin(warmer, tenant, &cache, self)?;
            return Ok(Answer::accepted(&json!({ "job": job.to_string() })));
        }
        let plan = warmer.dry_run().await;
        let mut requests: BTreeMap<&str, u64> = BTreeMap::new();
        plan.iter().for_each(|one| *requests.entry(&one.category).or_default() += 1);
        let would: Vec<_> =
            requests.iter().map(|(category, requests)| json!({ "category": category, "requests": requests })).collect();
        Ok(Answer::json(&json!({ "dry_run": true, "would": would, "of": plan.len() })))
    }
}

/// The categories that are named, all of which there have to be.
fn categories(body: &Map<String, Value>, warmer: &Warmer) -> Result<Vec<String>, Failure> {
    let named: Vec<String> = match body.get("categories") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(all)) => {
            let names = all.iter().map(|name| name.as_str().map(str::to_owned)).collect::<Option<_>>();
            names.ok_or_else(|| Failure::bad("categories: a list of texts is possible"))?
        }
        Some(_) => return Err(Failure::bad("categories: a list of texts is possible")),
    };
    let known = warmer.priorities();
    match named.iter().find(|name| !known.iter().any(|(other, _)| other == name)) {
        None => Ok(named),
        Some(other) => {
            let known: Vec<_> = known.iter().map(|(name, _)| format!("`{name}`")).collect();
            let text = format!("categories: there is no `{}`, but {}", short(other), known.join(", "));
            Err(Failure::bad(text))
        }
    }
}

fn no_warmer() -> Failure {
    Failure::not_found("the application gave no warmer: Admin::warmer")
}

impl fmt::Debug for Warm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Warm").field("warmer", &self.warmer).finish_non_exhaustive()
    }
}

/// So many jobs are remembered.
const KEPT: usize = 16;

/// So many failures are told.
const MOST_FAILURES: usize = 20;
