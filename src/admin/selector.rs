//! What an invalidation is about, as JSON.

use super::{access::Access, answer::Failure, service::own_tenant};
use crate::{Cache, Selector, invalidation::Changed};
use serde_json::{Map, Value};

/// What is to be invalidated.
#[derive(Debug)]
pub(super) struct Wanted {
    what: What,
    tenant: Option<String>,
    soft: bool,
    /// For people.
    pub(super) text: String,
    /// Nothing of others is to be hit.
    limited: bool,
}

#[derive(Debug)]
enum What {
    Selector(Selector),
    Changed { name: String, id: Option<String> },
}

impl Wanted {
    /// What this object says. Those whose access is limited to a tenant select of that alone.
    pub(super) fn parse(selector: &Value, soft: bool, access: &Access) -> Result<Self, Failure> {
        let Value::Object(all) = selector else {
            return Err(Failure::impossible(format!("selector: an object is needed, one of {KINDS}")));
        };
        // What is null is as if it were not there.
        let all: Map<String, Value> =
            all.iter().filter(|(_, value)| !value.is_null()).map(|(k, v)| (k.clone(), v.clone())).collect();
        let named: Vec<&str> = all.keys().map(String::as_str).filter(|name| !["tenant", "id"].contains(name)).collect();
        let tenant = word(&all, "tenant")?;
        let own = own_tenant(access, tenant.as_deref())?;
        let id = word(&all, "id")?;
        if id.is_some() && named != ["changed"] {
            return Err(Failure::impossible("selector: `id` belongs to `changed`"));
        }
        let what = match named[..] {
            [] if tenant.is_some() => What::Selector(Selector::tenant(own.clone().unwrap_or_default())),
            ["changed"] => What::Changed { name: word(&all, "changed")?.unwrap_or_default(), id: id.clone() },
            [one] => What::Selector(one_of(&all, one)?),
            _ => {
                let given = if named.is_empty() { "nothing".to_owned() } else { named.join(", ") };
                return Err(Failure::impossible(format!("selector: exactly one of {KINDS}; there is {given}")));
            }
        };
        let mut text: Vec<_> =
            named.iter().map(|name| format!("{name} {}", plain(&all[*name])).trim_end().to_owned()).collect();
        text.extend(id.map(|id| format!("id {id}")));
        text.extend(own.as_ref().map(|tenant| format!("tenant {tenant}")));
        text.extend(soft.then(|| "soft".to_owned()));
        Ok(Self { what, tenant: own, soft, text: text.join(", "), limited: access.tenant.is_some() })
    }

    /// All that it comes to.
    pub(super) async fn selectors(&self, cache: &Cache) -> Vec<Selector> {
        let all = match &self.what {
            What::Selector(selector) => {
                let selector = selector.clone();
                vec![match &self.tenant {
                    Some(tenant) => selector.within(tenant),
                    None => selector,
                }]
            }
            What::Changed { name, id } => {
                let mut changed = Changed::new(name.clone());
                if let Some(tenant) = &self.tenant {
                    changed.set_tenant(tenant);
                }
                if let Some(id) = id {
                    changed.set_id(id);
                }
                let mut all = cache.depending_on(&changed).await;
                if self.limited {
                    all.retain(|selector| selector.tenant_of() == self.tenant.as_deref());
                }
                all
            }
        };
        all.into_iter().map(|selector| if self.soft { selector.soft() } else { selector }).collect()
    }
}

fn one_of(all: &Map<String, Value>, name: &str) -> Result<Selector, Failure> {
    let text = || word(all, name).map(Option::unwrap_or_default);
    Ok(match name {
        "tag" => Selector::tag(text()?),
        "tags" => Selector::all_of(words(&all[name])?),
        "resource" => Selector::resource(text()?),
        "pattern" => Selector::pattern(text()?),
        "policy" => Selector::policy(text()?),
        "user" => Selector::user(text()?),
        "everything" if all[name] == true => Selector::everything(),
        "everything" => return Err(Failure::impossible("selector: `everything` is `true`, or is not there")),
        other => {
            let other = super::query::short(other);
            return Err(Failure::impossible(format!("selector: `{other}` is none of {KINDS}")));
        }
    })
}

fn words(value: &Value) -> Result<Vec<String>, Failure> {
    let words = value.as_array().and_then(|all| all.iter().map(|one| one.as_str().map(str::to_owned)).collect());
    words.ok_or_else(|| Failure::impossible("selector: `tags` is a list of texts"))
}

/// A text, or a number, as ids often are.
fn word(all: &Map<String, Value>, name: &str) -> Result<Option<String>, Failure> {
    match all.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(_) => Err(Failure::impossible(format!("selector: `{name}` is a text"))),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(_) => String::new(),
        Value::Array(all) => all.iter().map(plain).collect::<Vec<_>>().join(" + "),
        other => other.to_string(),
    }
}

const KINDS: &str = "`tag`, `tags`, `resource`, `pattern`, `policy`, `tenant`, `user`, `changed`, `everything`";
