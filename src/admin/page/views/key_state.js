// The state of an API key in words.

import { h } from "../dom.js";
import { relative, utc } from "../format.js";
import { badge } from "../table.js";

const STATES = { active: ["Active", "good"], disabled: ["Disabled", "off"], deleted: ["Deleted", "bad"] };

/** A badge, and when the key expires. */
export function stateBadges(key) {
  const [text, look] = STATES[key.state];
  const ends = key.expires_at && key.state !== "deleted" && !key.expired;
  return [
    key.expired && key.state === "active" ? badge("Expired", "bad") : badge(text, look),
    ends && h("small", { title: `${utc(key.expires_at)} UTC` }, `expires ${relative(key.expires_at)}`),
  ];
}
