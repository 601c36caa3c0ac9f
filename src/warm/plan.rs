//! What a run would ask for, without asking.

use super::{NO_CATEGORY, Warmer, source::Item};
use crate::identity::Identity;

/// What a run would ask for. Made by [`Warmer::dry_run`].
///
/// ```
/// # use larder::{WarmRequest, Warmer};
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let warmer = Warmer::new().category("pages", 1, [WarmRequest::get("/"), WarmRequest::get("no path")]);
/// let wrong: Vec<_> = warmer.dry_run().await.into_iter().filter(|plan| plan.mistake.is_some()).collect();
/// assert_eq!(wrong[0].target.as_deref(), Some("no path")); // a test of the application can find this
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WarmPlan {
    /// The category.
    pub category: String,
    /// Path and query; nothing for a value, or a source that fails.
    pub target: Option<String>,
    /// For whom.
    pub identity: Option<Identity>,
    /// Why it would fail, as far as that is known.
    pub mistake: Option<String>,
}

impl Warmer {
    /// What a run would ask for. Producers are asked, the application is not, so it is not known what would be skipped.
    ///
    /// ```
    /// # use larder::{WarmRequest, Warmer};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let warmer = Warmer::new().category("home", 1, [WarmRequest::get("/")]);
    /// assert_eq!(warmer.dry_run().await[0].target.as_deref(), Some("/"));
    /// # }
    /// ```
    pub async fn dry_run(&self) -> Vec<WarmPlan> {
        let mut plans = Vec::new();
        for category in self.chosen() {
            let plan = |target, identity, mistake| WarmPlan {
                category: category.name.clone().into_owned(),
                target,
                identity,
                mistake,
            };
            for source in &category.sources {
                for number in 0.. {
                    let items = match source.batch(number).await {
                        Ok(Some(items)) => self.wanted(items),
                        Ok(None) => break,
                        Err(why) => {
                            plans.push(plan(None, None, Some(why)));
                            break;
                        }
                    };
                    plans.extend(items.iter().map(|item| match item {
                        Item::Value(_) => plan(None, None, None),
                        Item::Request(request) => plan(
                            Some(request.target().to_owned()),
                            request.whose().cloned(),
                            request.mistake().map(str::to_owned),
                        ),
                    }));
                }
            }
        }
        plans.extend(self.unknown().map(|name| WarmPlan {
            category: name.to_owned(),
            target: None,
            identity: None,
            mistake: Some(NO_CATEGORY.to_owned()),
        }));
        plans
    }
}
