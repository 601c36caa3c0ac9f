//! A headless Chromium, as a test drives it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use fantoccini::{
    Client, ClientBuilder, Locator,
    elements::Element,
    wd::{Capabilities, WebDriverCompatibleCommand},
};
use http::Method;
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use std::{path::PathBuf, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// A browser with a window of its own. Gone when it is dropped.
#[derive(Debug)]
pub struct Browser {
    client: Client,
    _driver: Child,
}

impl Browser {
    /// A window of this size, `dark` or light.
    ///
    /// # Panics
    ///
    /// If there is no chromedriver; `scripts/test` installs it.
    pub async fn open((width, height): (u32, u32), dark: bool) -> Self {
        let mut driver = Command::new("chromedriver")
            .args(["--port=0"])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("chromedriver is installed by scripts/test");
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = loop {
            let line = lines.next_line().await.unwrap().expect("chromedriver tells its port");
            if let Some((_, port)) = line.split_once("started successfully on port ") {
                break port.trim_end_matches('.').parse::<u16>().unwrap();
            }
        };
        // It goes on talking.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let mut args = ARGS.map(str::to_owned).to_vec();
        args.push(format!("--window-size={width},{height}"));
        if dark {
            args.push("--blink-settings=preferredColorScheme=0".to_owned());
        }
        let wanted = json!({
            "browserName": "chrome",
            "goog:chromeOptions": { "args": args },
            "goog:loggingPrefs": { "browser": "ALL" },
        });
        let Value::Object(wanted) = wanted else { unreachable!("it is an object") };
        let wanted: Capabilities = wanted;
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(wanted)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .expect("chromium is installed by scripts/test");
        Self { client, _driver: driver }
    }

    /// Goes to a page.
    pub async fn goto(&self, url: &str) {
        self.client.goto(url).await.unwrap();
    }

    /// Loads the page again.
    pub async fn reload(&self) {
        self.client.refresh().await.unwrap();
    }

    /// The address that is shown.
    pub async fn address(&self) -> String {
        self.client.current_url().await.unwrap().to_string()
    }

    /// The element with this `data-testid`, as soon as it is there and shown.
    ///
    /// # Panics
    ///
    /// After ten seconds.
    pub async fn find(&self, id: &str) -> Element {
        let css = format!("[data-testid=\"{id}\"]");
        let found = self.client.wait().at_most(PATIENCE).for_element(Locator::Css(&css)).await;
        let Ok(element) = found else {
            let said = self.run("return document.body.innerText").await;
            panic!("{id} is not there: {said} {:?}", self.complaints().await);
        };
        let mut left = 100;
        while !element.is_displayed().await.unwrap_or(false) && left > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            left -= 1;
        }
        element
    }

    /// How many there are with this `data-testid`.
    pub async fn count(&self, id: &str) -> usize {
        self.client.find_all(Locator::Css(&format!("[data-testid=\"{id}\"]"))).await.unwrap().len()
    }

    /// Clicks it.
    pub async fn click(&self, id: &str) {
        self.find(id).await.click().await.unwrap_or_else(|error| panic!("{id}: {error}"));
    }

    /// Writes into it, in place of what is there.
    pub async fn fill(&self, id: &str, text: &str) {
        let element = self.find(id).await;
        element.clear().await.unwrap();
        element.send_keys(text).await.unwrap();
    }

    /// Chooses an option by its value.
    pub async fn choose(&self, id: &str, value: &str) {
        self.find(id).await.select_by_value(value).await.unwrap();
    }

    /// Its text.
    pub async fn text(&self, id: &str) -> String {
        self.find(id).await.text().await.unwrap()
    }

    /// The plain number in it, if it has one.
    pub async fn number(&self, id: &str) -> Option<f64> {
        self.find(id).await.attr("data-value").await.unwrap()?.parse().ok()
    }

    /// Waits until something holds.
    ///
    /// # Panics
    ///
    /// After ten seconds.
    pub async fn until(&self, what: &str, holds: impl AsyncFn(&Self) -> bool) {
        let mut left = PATIENCE.as_millis() / 50;
        while !holds(self).await {
            assert!(left > 0, "in vain: {what}");
            left -= 1;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Runs a script, and gives what it returns.
    pub async fn run(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.unwrap()
    }

    /// Presses a key, wherever the focus is.
    pub async fn press(&self, key: &str) {
        self.client.active_element().await.unwrap().send_keys(key).await.unwrap();
    }

    /// What the browser complains of: errors of scripts, what the content security policy forbids, requests that failed.
    pub async fn complaints(&self) -> Vec<String> {
        let said = self.client.issue_cmd(Said).await.unwrap();
        let said = said.as_array().cloned().unwrap_or_default();
        let severe = said.iter().filter(|line| line["level"] == "SEVERE");
        severe.map(|line| line["message"].to_string()).collect()
    }

    /// Keeps a picture of the whole window in the target folder, and tells where.
    pub async fn picture(&self, name: &str) -> PathBuf {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/dashboard");
        std::fs::create_dir_all(&path).unwrap();
        let path = path.join(format!("{name}.png"));
        std::fs::write(&path, self.client.screenshot().await.unwrap()).unwrap();
        path
    }

    /// Closes the window.
    pub async fn close(self) {
        self.client.close().await.unwrap();
    }
}

/// Asks for what the browser has said since it was last asked.
#[derive(Debug)]
struct Said;

impl WebDriverCompatibleCommand for Said {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/se/log", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &url::Url) -> (Method, Option<String>) {
        (Method::POST, Some(json!({ "type": "browser" }).to_string()))
    }
}

/// A browser that talks to nobody but the page.
const ARGS: [&str; 9] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
];

const PATIENCE: Duration = Duration::from_secs(10);
