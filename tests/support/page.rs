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

impl Deref for Page {
    type Target = Browser;

    fn deref(&self) -> &Browser {
        &self.browser
    }
}
