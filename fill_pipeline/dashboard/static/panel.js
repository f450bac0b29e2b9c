// A part of the page whose HTML the server writes (escaped there). What changes is changed in place, so that
// focus, scrolling, open menus and half-typed words survive an update. What the viewer does is sent as `do`.
import { h } from "vue";

const KEPT = { DIALOG: ["open"], DETAILS: ["open"], TIME: [], IMG: ["class", "src"] };

function attributes(from, to) {
  const kept = KEPT[from.tagName] ?? [];
  for (const { name, value } of [...to.attributes]) {
    if (from.getAttribute(name) !== value) from.setAttribute(name, value);
  }
  for (const { name } of [...from.attributes]) {
    if (!to.hasAttribute(name) && !kept.includes(name)) from.removeAttribute(name);
  }
}

const same = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName && a.dataset?.key === b.dataset?.key;

function morph(from, to) {
  const keyed = new Map();
  for (const child of from.children) if (child.dataset.key) keyed.set(child.dataset.key, child);
  let place = from.firstChild;
  for (const wanted of [...to.childNodes]) {
    const known = wanted.dataset?.key ? keyed.get(wanted.dataset.key) : undefined;
    let node = known ?? (place && !place.dataset?.key && same(place, wanted) ? place : undefined);
    if (!node || !same(node, wanted)) {
      from.insertBefore(wanted, place);
      continue;
    }
    if (node !== place) from.insertBefore(node, place);
    else place = place.nextSibling;
    if (node.nodeType !== Node.ELEMENT_NODE) {
      if (node.data !== wanted.data) node.data = wanted.data;
    } else if (node.tagName === "TIME" && node.dateTime === wanted.dateTime && node.dataset.mode === wanted.dataset.mode) {
      attributes(node, wanted); // its text is this script's
    } else {
      attributes(node, wanted);
      morph(node, wanted);
    }
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

function span(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} days`;
}

function tell(times) {
  for (const time of times) {
    const at = new Date(time.dateTime);
    const seconds = (Date.now() - at) / 1000;
    let words = at.toLocaleString();
    if (time.dataset.mode === "ago") words = seconds < 1.5 ? "just now" : `${span(seconds)} ago`;
    if (time.dataset.mode === "until") words = seconds >= 0 ? "now" : `in ${span(-seconds)}`;
    if (time.textContent !== words) time.textContent = words;
  }
}
setInterval(() => tell(document.querySelectorAll("time[data-mode]")), 1000);

// Pictures come from other sites, which then see who looks: they are loaded when the viewer wants them.
const PHOTOS = "fill-photos";
function photos(toggle) {
  if (toggle) localStorage.setItem(PHOTOS, localStorage.getItem(PHOTOS) === "on" ? "off" : "on");
  const on = localStorage.getItem(PHOTOS) === "on";
  document.documentElement.dataset.photos = on ? "on" : "off";
  for (const button of document.querySelectorAll("[data-local=photos]")) {
    button.setAttribute("aria-pressed", on);
  }
  for (const img of document.querySelectorAll("img[data-src]")) {
    if (on && img.getAttribute("src") !== img.dataset.src) img.src = img.dataset.src;
    if (!on) img.removeAttribute("src");
  }
}

// A picture that does not come leaves its empty frame.
document.addEventListener("error", (e) => e.target.tagName === "IMG" && e.target.classList.add("broken"), true);

const THEME = "fill-theme";
function theme(next) {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const chosen = next ?? localStorage.getItem(THEME) ?? (dark ? "dark" : "light");
  document.documentElement.dataset.theme = chosen;
  if (next) localStorage.setItem(THEME, next);
}
theme();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => theme());

let typing;

export default {
  props: { html: String, tag: String },
  emits: ["do"],
  render() {
    return h(this.tag, { onClick: this.click, onSubmit: this.submit, onInput: this.input });
  },
  mounted() {
    this.show();
  },
  watch: { html: "show" },
  methods: {
    show() {
      const wanted = document.createElement("template");
      wanted.innerHTML = this.html;
      const open = this.$el.querySelector("dialog[open]");
      if (open && !wanted.content.querySelector("dialog")) open.close(); // gives the focus back
      morph(this.$el, wanted.content);
      tell(this.$el.querySelectorAll("time[data-mode]"));
      if (this.$el.querySelector("[data-local=photos]")) photos();
      if (open?.isConnected && !open.contains(document.activeElement)) open.querySelector("[autofocus]")?.focus();
      const dialog = this.$el.querySelector("dialog:not([open])");
      if (!dialog) return;
      dialog.addEventListener("cancel", this.cancel); // does not bubble
      dialog.showModal();
    },
    click(event) {
      const local = event.target.closest("[data-local]")?.dataset.local;
      if (local === "theme") return theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
      if (local === "photos") return photos(true);
      const button = event.target.closest("button[data-do]");
      if (button) this.$emit("do", { do: button.dataset.do, subject: button.dataset.subject ?? "" });
    },
    submit(event) {
      event.preventDefault();
      this.$emit("do", { ...Object.fromEntries(new FormData(event.target)), do: event.target.dataset.do });
    },
    input(event) {
      if (event.target.dataset.do !== "search") return;
      clearTimeout(typing);
      typing = setTimeout(() => this.$emit("do", { do: "search", subject: event.target.value }), 150);
    },
    cancel(event) {
      event.preventDefault();
      this.$emit("do", { do: "dismiss", subject: "" });
    },
  },
};
