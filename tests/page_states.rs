//! What stands where a list would be: while it comes, when there is nothing, and when the gateway is away.

use crate::support::Page;
use crate::support::browser::hook;

/// Answers come no more, until [`release`].
fn hold(page: &Page) {
    page.eval(
        "const ask = window.fetch, held = []; \
         window.fetch = (...asked) => new Promise(go => held.push(go)).then(() => ask(...asked)); \
         window.release = () => { window.fetch = ask; held.forEach(go => go()); }",
    );
}

fn release(page: &Page) {
    page.eval("window.release()");
}

const VIEWS: [(&str, &str); 4] =
    [("nodes", "node"), ("audit", "audit-row"), ("operators", "operator"), ("keys", "row")];

#[test]
fn while_a_list_comes_its_place_is_kept() {
    let page = Page::start();
    page.has_key("app");
    for (view, row) in VIEWS {
        hold(&page);
        page.go(view);
        page.see(".skeleton");
        assert_eq!(page.eval("return document.querySelector('table').getAttribute('aria-busy')"), "true", "{view}");
        page.look(&format!("loading-{view}"));
        release(&page);
        page.see(&hook(row));
        page.see_gone(".skeleton");
        assert_eq!(page.eval("return document.querySelector('table').hasAttribute('aria-busy')"), false, "{view}");
    }
    hold(&page);
    page.click(&hook("shared-secret"));
    page.see(".loading");
    page.look("loading-shared-secret");
    release(&page);
    page.see(&hook("impact"));
    assert_eq!(page.complaints(), [""; 0]);
}

#[test]
fn when_the_gateway_is_away_each_view_says_so_and_tries_again() {
    let mut page = Page::start();
    page.has_key("app");
    page.keep_address();
    page.stop_gateway();
    for (view, _) in VIEWS {
        page.go(view);
        page.see_text(&hook("list-error"), "cannot be reached");
        page.look(&format!("error-{view}"));
    }
    // Nothing of what is shown has to be fetched: icons are there.
    assert_eq!(
        page.eval(
            "return performance.getEntriesByType('resource').filter(r => r.name.endsWith('.svg') && \
        !r.name.endsWith('chevron.svg') && !r.name.endsWith('favicon.svg')).length"
        ),
        0
    );
    page.click(&hook("shared-secret"));
    page.see_text("dialog .notice", "cannot be reached");
    page.look("error-shared-secret");
    page.start_gateway();
    page.click(&format!("dialog {}", hook("retry")));
    page.see(&hook("impact"));
    page.click(&hook("cancel"));
    page.see_gone("dialog");
    page.see(&hook("row"));
    for (view, row) in VIEWS {
        page.go(view);
        page.see(&hook(row));
    }
}

#[test]
fn a_button_tries_again() {
    let mut page = Page::start();
    page.keep_address();
    page.stop_gateway();
    page.go("audit");
    page.see(&hook("list-error"));
    page.start_gateway();
    page.click(&hook("retry"));
    page.see(&hook("audit-row"));
    // The page itself does not come without the gateway; when it is back, the session is still there.
    page.reload();
    page.see_text(&hook("account"), "ada");
}

#[test]
fn an_audit_without_a_match_says_so() {
    let page = Page::start();
    page.go("audit");
    page.see(&hook("audit-row"));
    page.fill(&hook("filter-who"), "nobody like that");
    page.see(&hook("no-match"));
    page.look("audit-no-match");
    page.click(&hook("clear-filters"));
    page.see(&hook("audit-row"));
}
