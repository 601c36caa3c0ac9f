//! Closures that take their time, and those who do not wait for them.

use crate::{fill, gone, set, shop, shop::Shop, support::settle};
use larder::{Changed, Dependencies, Selector};
use std::{
    future::{Future, IntoFuture, pending},
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::sync::Semaphore;

const ALL: [&str; 4] = ["known", "found", "named", "other"];

/// What is known by its tag, or by another name, and what a closure finds once it is let go.
fn models(gate: &Arc<Semaphore>) -> Dependencies {
    let gate = Arc::clone(gate);
    let find = move |_: Changed| {
        let gate = Arc::clone(&gate);
        async move {
            gate.acquire().await.unwrap().forget();
            vec![Selector::tag("found")]
        }
    };
    Dependencies::new().selectors("People", find).tags("People", ["known"]).names("People", ["B"]).tags("B", ["named"])
}

async fn filled() -> (Shop, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let shop = shop(models(&gate));
    for tenant in ["1", "2"] {
        fill(&shop, tenant, &ALL).await;
    }
    (shop, gate)
}

fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn what_is_known_does_not_wait_for_them_and_nothing_is_lost() {
    for waits in [true, false] {
        let (shop, gate) = filled().await;
        let mut telling = Box::pin(shop.cache.changed("People").tenant(1).into_future());
        assert!(poll(telling.as_mut()).is_pending());
        assert_eq!(gone(&shop, "1", &ALL).await, set(&["known", "named"]));
        if waits {
            assert!(poll(telling.as_mut()).is_pending(), "not all is told");
            gate.add_permits(1);
            telling.await.unwrap();
        } else {
            drop(telling);
            gate.add_permits(1);
            settle().await;
        }
        assert_eq!(gone(&shop, "1", &ALL).await, set(&["found"]), "{waits}");
        assert_eq!(gone(&shop, "2", &ALL).await, set(&[]));
        assert_eq!(shop.cache.stats().background, 0);
    }
}

#[tokio::test]
async fn a_transaction_is_told_once_its_commit_has_begun() {
    let (shop, gate) = filled().await;
    let mut changes = shop.cache.changes();
    changes.changed("People").tenant(1);
    drop(changes.clone());
    drop(changes.clone().commit());
    settle().await;
    assert_eq!((gone(&shop, "1", &ALL).await, shop.cache.stats().invalidations), (set(&[]), 0));
    {
        let mut committing = pin!(changes.commit());
        assert!(poll(committing.as_mut()).is_pending());
    }
    gate.add_permits(1);
    settle().await;
    assert_eq!(gone(&shop, "1", &ALL).await, set(&["known", "named", "found"]));
    assert_eq!(shop.cache.stats().invalidations, 2);
}

#[tokio::test]
async fn those_that_wait_for_nothing_are_part_of_the_one_record() {
    let (shop, gate) = filled().await;
    gate.add_permits(40);
    let mut changes = shop.cache.changes();
    for id in 0..40 {
        changes.changed("People").tenant(1).id(id);
    }
    changes.commit().await.unwrap();
    assert_eq!(shop.cache.stats().invalidations, 1);
    assert_eq!(gone(&shop, "1", &ALL).await, set(&["known", "named", "found"]));
}

/// It counts as one that panics; the others are heard.
#[tokio::test(start_paused = true)]
async fn one_that_never_ends_stands_for_everything() {
    let dependencies = || {
        Dependencies::new()
            .selectors("Hangs", |_| pending())
            .selectors("Hangs", |_| async { vec![Selector::tag("found").within(2)] })
            .tags("Hangs", ["known"])
    };
    for waits in [true, false] {
        let shop = shop(dependencies());
        for tenant in ["1", "2"] {
            fill(&shop, tenant, &ALL).await;
        }
        let telling = shop.cache.changed("Hangs").tenant(1).into_future();
        if waits {
            telling.await.unwrap();
        } else {
            assert!(tokio::time::timeout(Duration::from_secs(1), telling).await.is_err());
            tokio::time::sleep(Duration::from_secs(30)).await;
        }
        assert_eq!(gone(&shop, "1", &ALL).await, set(&ALL), "{waits}");
        assert_eq!(gone(&shop, "2", &ALL).await, set(&["found"]), "{waits}");
    }
}

/// Nobody runs them any more: what they would have found is not known.
#[tokio::test]
async fn those_that_cannot_go_on_stand_for_everything() {
    let (shop, _gate) = filled().await;
    let mut telling = Box::pin(shop.cache.changed("People").tenant(1).into_future());
    assert!(poll(telling.as_mut()).is_pending());
    shop.cache.shutdown(Duration::ZERO).await;
    drop(telling);
    assert_eq!(gone(&shop, "1", &ALL).await, set(&ALL));
    assert_eq!(gone(&shop, "2", &ALL).await, set(&[]));
}
