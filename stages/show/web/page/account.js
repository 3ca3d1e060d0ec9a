// Who may log in, and which programs may ask: for admins; and one's own password.
import { ask, el, fill, once, toast } from "./dom.js";
import { api, session } from "./session.js";

const ROLES = { viewer: "sees pictures and events", operator: "also enrols people", admin: "does everything" };
const TOKEN_ROLES = { ...ROLES, reader: "shows badges, and does nothing else" };

export function account() {
  const lists = session.who.role === "admin" ? [accounts(), tokens()] : [];
  return { root: el("section", {}, el("h1", {}, "Account"), el("div", { class: "cards" }, ...lists, password())) };
}

// A card with a row for each thing of a kind, and a button to make one more; `row` gives a thing's note and its button.
function listed(title, path, none, row, more, make) {
  const list = el("ul", { class: "rows" });
  const refresh = async () => {
    try {
      const found = await api("GET", path);
      list.replaceChildren(...found.map((one) => el("li", {}, el("div", { class: "grow" }, el("b", {}, one.name), " ",
        el("span", { class: "tag" }, one.role), el("br"), el("span", { class: "muted" }, row.note(one))), row.button(one, refresh))));
      if (!found.length) list.append(el("li", { class: "muted" }, none));
    } catch (error) { toast(error.message); }
  };
  refresh();
  return el("section", { class: "card", "aria-label": title }, el("div", { class: "row" }, el("h2", { class: "grow" }, title),
    el("button", { type: "button", onclick: () => make(refresh) }, more)), list);
}

function accounts() {
  return listed("Accounts", "/api/accounts", "", {
    note: ({ role }) => ROLES[role],
    button: (one, refresh) => el("div", { class: "row" }, change(one, refresh),
      danger("Remove", one.name, () => ask(`Remove the account ${one.name}?`,
        "Whoever is logged in with it is logged out.", `Remove ${one.name}`,
        async () => { await api("DELETE", `/api/accounts/${encodeURIComponent(one.name)}`); refresh(); }))),
  }, "Add an account", (refresh) => fill("Add an account", [named(), role(ROLES), el("label", {}, "Password", el("small", {}, "At least 10 characters."),
    el("input", { name: "password", type: "password", autocomplete: "new-password", minlength: "10", maxlength: "1000", required: "" }))],
  "Add", async (given) => { await api("POST", "/api/accounts", Object.fromEntries(given)); refresh(); }));
}

const change = ({ name, role: so }, refresh) => el("button", { type: "button", class: "quiet", "aria-label": `Role of ${name}`,
  onclick: () => fill(`Role of ${name}`, [role(ROLES, so)], "Save", async (given) => {
    await api("PUT", `/api/accounts/${encodeURIComponent(name)}/role`, Object.fromEntries(given));
    refresh();
  }) }, "Role");

function tokens() {
  return listed("API tokens", "/api/tokens", "No program has a token.", {
    note: ({ made_at }) => `made ${new Date(made_at).toLocaleDateString()}`,
    button: ({ name }, refresh) => danger("Revoke", name, () => ask(`Revoke the token ${name}?`,
      "The program that has it is refused from then on.", `Revoke ${name}`,
      async () => { await api("DELETE", `/api/tokens/${encodeURIComponent(name)}`); refresh(); })),
  }, "Make a token", (refresh) => fill("Make a token", [named(), role(TOKEN_ROLES)], "Make", async (given) => {
    const { token } = await api("POST", "/api/tokens", Object.fromEntries(given));
    refresh();
    return [el("h2", {}, `The token ${given.get("name")}`), el("label", {}, "Token",
      el("small", {}, "It is shown this once: copy it now. A program sends it as the header Authorization: Bearer TOKEN."),
      el("input", { readonly: "", value: token, onfocus: ({ target }) => target.select() }))];
  }));
}

function password() {
  const button = el("button", {}, "Change the password");
  const error = el("p", { class: "error", role: "alert" });
  const form = el("form", { class: "card" }, el("h2", {}, "Your password"),
    el("input", { name: "name", value: session.who.name, autocomplete: "username", hidden: "" }),
    el("label", {}, "So far", el("input", { name: "old", type: "password", autocomplete: "current-password", maxlength: "1000", required: "" })),
    el("label", {}, "From now on", el("small", {}, "At least 10 characters."),
      el("input", { name: "new", type: "password", autocomplete: "new-password", minlength: "10", maxlength: "1000", required: "" })),
    error, button);
  form.onsubmit = (event) => {
    event.preventDefault();
    const given = new FormData(form);
    once(button, async () => {
      session.who = await api("PUT", "/api/me/password", { old: given.get("old"), new: given.get("new") });
      form.reset();
      toast("The password is changed. Wherever else you were logged in you are logged out.");
    }, error);
  };
  return form;
}

const danger = (label, name, act) => el("button", { type: "button", class: "danger", "aria-label": `${label} ${name}`, onclick: act }, label);
const named = () => el("label", {}, "Name", el("input", { name: "name", required: "", maxlength: "60", autocomplete: "off" }));
const role = (roles, chosen = "viewer") => el("label", {}, "Role", el("select", { name: "role" },
  ...Object.entries(roles).map(([name, may]) => el("option", { value: name, selected: name === chosen ? "" : null }, `${name}: ${may}`))));
