//! A real headless Chromium, driven by `WebDriver` as a person would drive it: it clicks what can be seen and types
//! where the focus is. Whatever is looked for is waited for. Elements are found by CSS selectors, most by their
//! `data-test` ([`hook`]).

use std::fs::File;
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fantoccini::elements::Element;
use fantoccini::error::CmdError;
use fantoccini::key::Key;
use fantoccini::{Client as Session, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::admin::json_body;
use super::request::request;
use super::{Client, tools, wait_for, wait_for_some};

/// How often chromedriver is started: the port that it finds free for IPv6 may be taken for IPv4, and it ends.
const STARTS: usize = 5;
/// How long the browser may take to end by itself.
const GRACE: Duration = Duration::from_secs(5);

/// The selector of what has this `data-test`.
pub fn hook(name: &str) -> String {
    format!("[data-test~=\"{name}\"]")
}

/// One browser with one window and a profile of its own; ends when dropped.
pub struct Browser {
    session: Option<Session>,
    session_id: String,
    runtime: Runtime,
    driver: Child,
    address: SocketAddr,
    // Last: profile and log are removed when nothing uses them any more.
    _dir: TempDir,
}

impl Browser {
    pub fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("keygate-browser-").tempdir().expect("a temporary directory");
        let started = (0..STARTS).find_map(|_| start_driver(dir.path()));
        let (driver, port) = started.expect("a chromedriver that does not end");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let connected = async {
            let Value::Object(capabilities) = capabilities() else { unreachable!("an object is written below") };
            let mut builder = ClientBuilder::new(HttpConnector::new());
            let session = builder.capabilities(capabilities).connect(&format!("http://{address}")).await;
            let session = session.expect("a browser");
            let id = session.session_id().await.expect("an answer").expect("a session");
            (session, id)
        };
        let (session, session_id) = runtime.block_on(connected);
        Self { session: Some(session), session_id, runtime, driver, address, _dir: dir }
    }

    fn session(&self) -> &Session {
        self.session.as_ref().expect("it is there until it is dropped")
    }

    fn run<T>(&self, command: impl Future<Output = Result<T, CmdError>>) -> Result<T, String> {
        self.runtime.block_on(command).map_err(|e| e.to_string())
    }

    /// A command that only this driver has.
    fn vendor(&self, place: &str, body: &Value) -> Value {
        let target = format!("/session/{}/{place}", self.session_id);
        let address = self.address.to_string();
        let response =
            Client::connect(self.address).exchange(&json_body(request("POST", &target).host(&address), body));
        assert_eq!(response.status, 200, "{place}: {}", response.text());
        response.json()["value"].clone()
    }

    fn devtools(&self, command: &str, parameters: &Value) {
        self.vendor("goog/cdp/execute", &json!({ "cmd": command, "params": parameters }));
    }

    pub fn open(&self, url: &str) {
        self.run(self.session().goto(url)).unwrap_or_else(|e| panic!("{url}: {e}"));
    }

    pub fn reload(&self) {
        self.run(self.session().refresh()).expect("reloads");
    }

    pub fn url(&self) -> String {
        self.run(self.session().current_url()).expect("an address").to_string()
    }

    pub fn resize(&self, width: u32, height: u32) {
        self.run(self.session().set_window_size(width, height)).expect("resizes");
    }

    /// What the page finds with `prefers-color-scheme`.
    pub fn prefer(&self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.devtools("Emulation.setEmulatedMedia", &json!({ "features": features }));
    }

    /// Whether the network is there.
    pub fn online(&self, online: bool) {
        self.devtools("Network.enable", &json!({}));
        let conditions = json!({ "offline": !online, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1 });
        self.devtools("Network.emulateNetworkConditions", &conditions);
    }

    /// All that match and are to be seen.
    pub fn all(&self, css: &str) -> Vec<Element> {
        self.run(async {
            let mut shown = Vec::new();
            for element in self.session().find_all(Locator::Css(css)).await? {
                if element.is_displayed().await? {
                    shown.push(element);
                }
            }
            Ok(shown)
        })
        // The page changed in between: looked again by whoever waits.
        .unwrap_or_default()
    }

    pub fn shows(&self, css: &str) -> bool {
        !self.all(css).is_empty()
    }

    /// Waits until the first that matches is to be seen.
    #[track_caller]
    pub fn see(&self, css: &str) -> Element {
        wait_for_some(&format!("{css} is to be seen"), || self.all(css).into_iter().next())
    }

    /// Waits until nothing that matches is to be seen.
    #[track_caller]
    pub fn see_gone(&self, css: &str) {
        wait_for(&format!("{css} is gone"), || {
            matches!(self.eval(&format!(
                "return [...document.querySelectorAll({css:?})].some(e => e.checkVisibility({{ visibilityProperty: true }}))"
            )), Value::Bool(false))
        });
    }

    /// Waits until the first that matches holds this text.
    #[track_caller]
    pub fn see_text(&self, css: &str, text: &str) {
        wait_for(&format!("{text:?} in {css}"), || self.all(css).iter().any(|e| self.text_of(e).contains(text)));
    }

    fn text_of(&self, element: &Element) -> String {
        self.run(element.text()).unwrap_or_default()
    }

    /// The text of the first that matches.
    #[track_caller]
    pub fn text(&self, css: &str) -> String {
        self.text_of(&self.see(css))
    }

    /// The texts of all that match.
    pub fn texts(&self, css: &str) -> Vec<String> {
        self.all(css).iter().map(|e| self.text_of(e)).collect()
    }

    /// What is typed into the first that matches, or the text of an output.
    #[track_caller]
    pub fn value(&self, css: &str) -> String {
        let element = self.see(css);
        self.run(element.prop("value")).expect("a property").unwrap_or_else(|| self.text_of(&element))
    }

    #[track_caller]
    pub fn is_enabled(&self, css: &str) -> bool {
        let element = self.see(css);
        self.run(element.is_enabled()).expect("an element")
    }

    /// Clicks the first that matches as soon as nothing is in the way.
    #[track_caller]
    pub fn click(&self, css: &str) {
        let mut last = None;
        let deadline = std::time::Instant::now() + super::PATIENCE;
        while std::time::Instant::now() < deadline {
            match self.all(css).first().map(|element| self.run(element.click())) {
                Some(Ok(())) => return,
                Some(Err(e)) => last = Some(e),
                None => {}
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("cannot click {css}: {last:?}\n{}", self.page_text());
    }

    /// Replaces what is in a field.
    #[track_caller]
    pub fn fill(&self, css: &str, text: &str) {
        let element = self.see(css);
        self.run(async {
            element.clear().await?;
            element.send_keys(text).await
        })
        .unwrap_or_else(|e| panic!("cannot type into {css}: {e}"));
    }

    /// Chooses from a drop-down.
    #[track_caller]
    pub fn choose(&self, css: &str, value: &str) {
        self.see(css);
        // A person's choice makes both events; the driver's makes one.
        let script = format!(
            "const e = document.querySelector({css:?}); e.focus(); e.value = {value:?}; \
             for (const name of ['input', 'change']) e.dispatchEvent(new Event(name, {{ bubbles: true }})); \
             return e.value"
        );
        assert_eq!(self.eval(&script), Value::from(value), "{css} has no {value}");
    }

    /// Types where the focus is.
    #[track_caller]
    pub fn press(&self, keys: &str) {
        self.run(async { self.session().active_element().await?.send_keys(keys).await })
            .expect("something has the focus");
    }

    /// Presses Tab until the focus is on what matches.
    #[track_caller]
    pub fn tab_to(&self, css: &str) {
        for _ in 0..80 {
            if self.has_focus(css) {
                return;
            }
            self.press(&Key::Tab.to_string());
        }
        panic!("Tab never reaches {css}; the focus is on {}", self.focus());
    }

    pub fn has_focus(&self, css: &str) -> bool {
        self.eval(&format!("return document.activeElement?.matches({css:?}) ?? false")) == Value::Bool(true)
    }

    /// What has the focus, as HTML.
    pub fn focus(&self) -> String {
        self.eval("return document.activeElement?.outerHTML.slice(0, 200) ?? ''")
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// Runs JavaScript in the page.
    #[track_caller]
    pub fn eval(&self, script: &str) -> Value {
        self.run(self.session().execute(script, Vec::new())).unwrap_or_else(|e| panic!("{script}: {e}"))
    }

    /// Runs JavaScript whose last argument is a function that is called with the result.
    #[track_caller]
    pub fn eval_later(&self, script: &str) -> Value {
        self.run(self.session().execute_async(script, Vec::new())).unwrap_or_else(|e| panic!("{e}"))
    }

    /// All that can be read on the page.
    pub fn page_text(&self) -> String {
        self.eval("return document.body.innerText").as_str().unwrap_or_default().to_owned()
    }

    /// All markup, and what is in its fields.
    pub fn page_source(&self) -> String {
        let script = "return document.documentElement.outerHTML + [...document.querySelectorAll('input, textarea')]\
                      .map(e => e.value).join(' ')";
        self.eval(script).as_str().unwrap_or_default().to_owned()
    }

    /// What was copied last. It is read in a tab of its own, at the driver: the page's policy forbids reading.
    pub fn clipboard(&self) -> String {
        let permissions = json!({ "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"] });
        self.devtools("Browser.grantPermissions", &permissions);
        let script = "const done = arguments[0]; navigator.clipboard.readText().then(done, e => done('error: ' + e))";
        let session = self.session();
        let page = self.run(session.window()).expect("a window");
        let tab = self.run(session.new_window(true)).expect("a tab").handle;
        self.run(session.switch_to_window(tab)).expect("goes there");
        self.open(&format!("http://{}/status", self.address));
        self.devtools("Emulation.setFocusEmulationEnabled", &json!({ "enabled": true }));
        let text = self.eval_later(script);
        self.run(session.close_window()).expect("closes");
        self.run(session.switch_to_window(page)).expect("goes back");
        text.as_str().unwrap_or_default().to_owned()
    }

    /// What the browser complained about: scripts that failed, policies that were violated. Answers with an error
    /// status are not among them: tests provoke those.
    pub fn complaints(&self) -> Vec<String> {
        let entries = self.vendor("se/log", &json!({ "type": "browser" }));
        let entries = entries.as_array().cloned().unwrap_or_default();
        entries
            .iter()
            .filter(|e| e["level"] == "SEVERE" && e["source"] != "network")
            .map(|e| e["message"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// Fails if axe-core finds anything wrong with what is shown.
    #[track_caller]
    pub fn assert_accessible(&self, view: &str) {
        let script = format!(
            "{}; const done = arguments[arguments.length - 1]; \
             axe.run(document, {{ resultTypes: ['violations'] }}).then( \
               r => done(r.violations.map(v => v.id + ': ' + v.help + ' ' + \
                 v.nodes.map(n => n.target.join(' ') + ' [' + n.failureSummary + ']').join('; '))), \
               e => done(['axe failed: ' + e]));",
            tools::axe()
        );
        let found = self.eval_later(&script);
        assert_eq!(found, json!([]), "{view}");
    }

    /// A picture of the window, for people: target/screenshots/`name`.png.
    pub fn picture(&self, name: &str) -> PathBuf {
        let path = tools::artefact("screenshots", &format!("{name}.png"));
        let picture = self.run(self.session().screenshot()).expect("a picture");
        std::fs::write(&path, picture).expect("writes the picture");
        path
    }
}

/// With its port; `None`: it ended.
fn start_driver(dir: &Path) -> Option<(Child, u16)> {
    let log = dir.join("chromedriver.log");
    let mut driver = Command::new("chromedriver")
        .arg("--port=0")
        .env("TMPDIR", dir)
        .env("HOME", dir)
        .stdin(Stdio::null())
        .stdout(File::create(&log).expect("a file"))
        .stderr(Stdio::null())
        .spawn()
        .expect("chromedriver starts (.ci/install.sh test)");
    let port = wait_for_some("chromedriver", || {
        let has_ended = driver.try_wait().expect("a child").is_some();
        let port = port_in(&std::fs::read_to_string(&log).unwrap_or_default());
        (has_ended || port.is_some()).then_some(port.filter(|_| !has_ended))
    });
    Some((driver, port?))
}

fn port_in(log: &str) -> Option<u16> {
    let (_, rest) = log.split_once("started successfully on port ")?;
    rest.split('.').next()?.parse().ok()
}

fn capabilities() -> Value {
    let mut arguments = vec![
        "--headless=new",
        "--window-size=1280,900",
        "--lang=en",
        "--no-first-run",
        "--no-proxy-server",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-default-apps",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--disable-sync",
        "--force-prefers-reduced-motion",
    ];
    // Chromium's sandbox does not work for root.
    if rustix::process::geteuid().is_root() {
        arguments.push("--no-sandbox");
    }
    json!({
        "browserName": "chrome",
        "goog:chromeOptions": { "args": arguments },
        "goog:loggingPrefs": { "browser": "ALL" },
        "unhandledPromptBehavior": "accept",
    })
}

impl Drop for Browser {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.run(self.session().screenshot()).map(|p| {
                let name = std::thread::current().name().unwrap_or("failed").replace("::", "-");
                drop(std::fs::write(tools::artefact("screenshots", &format!("failed-{name}.png")), p));
            });
        }
        if let Some(session) = self.session.take() {
            drop(self.runtime.block_on(async { tokio::time::timeout(GRACE, session.close()).await }));
        }
        drop(self.driver.kill());
        drop(self.driver.wait());
    }
}
