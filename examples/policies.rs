//! Caches, policies and routes from a file.
//!
//! `cargo run --example policies [FILE]` prints what each policy of the file says, defaults included, and serves with
//! them on http://localhost:3000. `PORT=8080` chooses another port.
#![allow(clippy::print_stdout, reason = "it tells what the file says")]

use axum::{Router, routing::get};
use larder::{Config, Identity, IdentityLayer};
use std::{env, error::Error};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let file = env::args().nth(1).unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/policies.toml").to_owned());
    let config = Config::from_file(file)?;
    for (name, policy) in config.policies() {
        println!("[policies.{name}]\n{}", policy.effective());
        for warning in policy.warnings() {
            println!("warning: {warning}\n");
        }
    }

    let app = Router::new()
        .route("/dashboard/{page}", get(|| async { "the dashboard of one user" }))
        .route("/analytics/{report}", get(|| async { "figures of one tenant, for one role" }))
        .route("/products/{id}", get(|| async { "a product, the same for everybody" }))
        .layer(config.layer("api")?)
        // Outside of the cache. An application takes this from its own authentication.
        .layer(IdentityLayer::from_fn(|_| Some(Identity::new().with_tenant(1).with_user(42).with("role", "buyer"))));

    let port = env::var("PORT").map_or(Ok(3000), |port| port.parse::<u16>())?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let address = listener.local_addr()?;
    println!("Twice, for a hit:  curl -i 'http://{address}/analytics/sales?days=30'");
    println!("Not in the list:   curl -i 'http://{address}/analytics/sales?days=31'");
    axum::serve(listener, app).await?;
    Ok(())
}
