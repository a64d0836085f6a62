//! The admin page of a running gateway, open in a browser: the steps that many flows have in common.

use std::ops::Deref;

use super::admin::{Operator, Plane};
use super::browser::{Browser, hook};
use super::site::text_at;

/// A page and the gateway that it is of.
pub struct Page {
    // First, so that it ends first.
    pub browser: Browser,
    pub plane: Plane,
}

/// What the page told once of a key that it made.
pub struct Told {
    pub encoded: String,
    pub app_key: String,
}

impl Page {
    /// With an administrator logged in.
    pub fn start() -> Self {
        Self::of(Plane::start())
    }

    pub fn of(plane: Plane) -> Self {
        let page = Self { browser: Browser::start(), plane };
        page.open_first();
        page.log_in(&page.plane.admin);
        page
    }

    /// With nobody logged in.
    pub fn logged_out(plane: Plane) -> Self {
        let page = Self { browser: Browser::start(), plane };
        page.open_first();
        page
    }

    fn open_first(&self) {
        self.browser.open(&format!("{}/", self.plane.anonymous().origin()));
    }

    #[track_caller]
    pub fn log_in(&self, operator: &Operator) {
        self.fill(&hook("login-token"), &operator.token);
        self.click(&hook("login"));
        self.see(&hook("account"));
    }

    /// Logs in again where the session has ended.
    #[track_caller]
    pub fn log_in_again(&self, token: &str) {
        let in_dialog = |name: &str| format!("{} {}", hook("relogin"), hook(name));
        self.fill(&in_dialog("login-token"), token);
        self.click(&in_dialog("login"));
        self.see_gone(&hook("relogin"));
    }

    /// The administrator gets another token on the command line: all sessions end.
    pub fn end_sessions(&mut self) {
        let rotated = self.plane.cli(&["--output", "json", "operator", "rotate", "ada", "--yes"]).expect(0).json();
        self.plane.admin.token = text_at(&rotated, "token");
    }

    /// Lets the gateway listen at the same place when it is started again, so that the page finds it.
    pub fn keep_address(&self) {
        let text = std::fs::read_to_string(self.plane.path("keygate.toml")).expect("the configuration");
        let listen = |address: &str| format!("[admin]\nlisten = \"{address}\"");
        let kept = text.replace(&listen("127.0.0.1:0"), &listen(&self.plane.node.admin_address().to_string()));
        assert_ne!(text, kept);
        self.plane.write_config_text(&kept);
    }

    /// Ends the gateway; [`Self::start_gateway`] starts it again.
    pub fn stop_gateway(&mut self) {
        self.plane.gateway.node.stop();
    }

    pub fn start_gateway(&mut self) {
        self.plane.gateway.node = self.plane.gateway.site.serve();
    }

    /// Looks at what is shown now, in both appearances: axe-core finds nothing, and there is a picture.
    #[track_caller]
    pub fn look(&self, view: &str) {
        for scheme in ["light", "dark"] {
            self.prefer(scheme);
            self.assert_accessible(&format!("{view}, {scheme}"));
            self.picture(&format!("{view}-{scheme}"));
        }
    }

    /// Nothing is wider than the window.
    #[track_caller]
    pub fn assert_fits(&self, view: &str) {
        let wider = "const wide = e => e.scrollWidth - e.clientWidth; \
            return [document.documentElement, ...document.querySelectorAll('dialog, .dialog-body, nav, pre')].map(wide)\
            .reduce((a, b) => Math.max(a, b))";
        assert_eq!(self.eval(wider), 0, "{view} is wider than the window");
    }

    /// Goes to a view by the navigation.
    #[track_caller]
    pub fn go(&self, view: &str) {
        self.click(&hook(&format!("nav-{view}")));
    }

    /// Makes a key by ADD API KEY, and closes what is shown once.
    #[track_caller]
    pub fn add_key(&self, name: &str, role: &str) -> Told {
        self.click(&hook("add-key"));
        self.fill(&hook("name"), name);
        self.choose(&hook("role"), role);
        self.click(&hook("save"));
        let told = self.told();
        self.click(&hook("copy-encoded-key"));
        self.click(&hook("done"));
        self.see_gone(&hook("encoded-key"));
        told
    }

    /// The secrets that are shown.
    #[track_caller]
    pub fn told(&self) -> Told {
        let told = Told { encoded: self.text(&hook("encoded-key")), app_key: self.text(&hook("app-key")) };
        self.plane.secrets.learn(&format!("{} {}", told.encoded, told.app_key));
        told
    }

    /// A key that is there already when the page is looked at again.
    #[track_caller]
    pub fn has_key(&self, name: &str) -> String {
        text_at(&self.plane.api().add_key(name, "ADMIN"), "id")
    }

    /// Opens an operator's menu and chooses.
    #[track_caller]
    pub fn choose_for_operator(&self, id: &str, entry: &str) {
        self.click(&format!("{} {}", operator(id), hook("operator-menu")));
        self.click(&hook(entry));
    }

    /// Opens a key's menu and chooses.
    #[track_caller]
    pub fn choose_in_menu(&self, id: &str, entry: &str) {
        self.click(&format!("{} {}", row(id), hook("row-menu")));
        self.click(&hook(entry));
    }

    /// Types what a question wants to be typed, and confirms.
    #[track_caller]
    pub fn confirm_by(&self, word: &str) {
        assert!(!self.is_enabled(&hook("confirm")), "before anything was typed");
        self.fill(&hook("confirm-name"), word);
        self.click(&hook("confirm"));
    }
}

/// The selector of a key's row.
pub fn row(id: &str) -> String {
    format!("{}[data-id=\"{id}\"]", hook("row"))
}

/// The selector of an operator's row.
pub fn operator(id: &str) -> String {
    format!("{}[data-id=\"{id}\"]", hook("operator"))
}

impl Deref for Page {
    type Target = Browser;

    fn deref(&self) -> &Browser {
        &self.browser
    }
}
