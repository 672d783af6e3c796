// What makes a page live: parts come as server-sent events, and only what differs in them is changed in the page, so that
// the focus, what is selected and what was opened stay as they are. Markup comes from this service alone, which escapes
// whatever clients sent.
"use strict";

const SILENT_MS = 5000; // news come once a second
const AGAIN_MS = 3000;
const ENDS = {
  bye: "The service has ended. Trying to reach it again …",
  slow: "This page was too slow. Trying again …",
  busy: "Too many pages are open, or the service is starting. Trying again …",
};

const connection = document.getElementById("connection");
const pause = document.getElementById("pause");
const address = document.body.dataset.events;
// What passes is noted while somebody looks, so those pages look on while they are hidden. The others do not: a browser
// keeps six connections to a server, and a seventh page would wait for ever.
const looksOn = document.querySelector("form[role=search]") !== null;
let source = null;
let heard = 0;
let ended = false;
let paused = false;

function say(text, state) {
  if (connection.textContent !== text) connection.textContent = text;
  document.body.dataset.connection = state;
}

function same(one, other) {
  return one.nodeType === other.nodeType && one.nodeName === other.nodeName && (one.id || "") === (other.id || "");
}

// Make `old` what `fresh` is.
function renew(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const { name } of [...old.attributes]) {
    const opened = name === "open" && old.nodeName === "DETAILS"; // the reader's doing
    if (!opened && !fresh.hasAttribute(name)) old.removeAttribute(name);
  }
  renewChildren(old, fresh);
}

function renewChildren(old, fresh) {
  const named = new Map([...old.children].filter((child) => child.id).map((child) => [child.id, child]));
  let place = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    const known = child.id ? named.get(child.id) : place;
    if (known && known.parentNode === old && same(known, child)) {
      if (known === place) place = place.nextSibling;
      else old.insertBefore(known, place);
      renew(known, child);
    } else {
      old.insertBefore(child, place);
    }
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

function show(parts) {
  for (const [name, markup] of Object.entries(parts)) {
    const part = document.querySelector(`[data-live="${CSS.escape(name)}"]`);
    if (!part) continue;
    const template = document.createElement("template");
    template.innerHTML = markup;
    renewChildren(part, template.content);
  }
}

function wanted() {
  return address && !paused && (looksOn || !document.hidden);
}

function connect() {
  if (source) source.close();
  heard = Date.now();
  ended = false;
  source = new EventSource(address);
  source.addEventListener("message", (event) => {
    heard = Date.now();
    say("Live", "live");
    show(JSON.parse(event.data));
  });
  source.addEventListener("end", (event) => {
    ended = true;
    source.close();
    lost(ENDS[event.data]);
  });
  source.addEventListener("error", () => {
    if (ended) return;
    source.close();
    lost("The connection to the service is lost. Trying again …");
  });
}

function lost(text) {
  say(text, "lost");
  setTimeout(() => wanted() && connect(), AGAIN_MS);
}

// A connection may be dead without a word.
setInterval(() => {
  if (source && source.readyState === EventSource.OPEN && Date.now() - heard > SILENT_MS) {
    source.close();
    lost("Nothing has come from the service for a while. Trying again …");
  }
}, 1000);

pause.addEventListener("click", () => {
  paused = !paused;
  pause.textContent = paused ? "Resume" : "Pause";
  turn(paused ? "Paused" : "");
});

// Look on, or no more for the reason given.
function turn(reason) {
  if (wanted()) {
    say("Connecting …", "waiting");
    connect();
  } else {
    if (source) source.close();
    say(reason, "paused");
  }
}

if (address) {
  pause.hidden = false;
  turn("");
  document.addEventListener("visibilitychange", () => paused || looksOn || turn("Waits until it is seen"));
  window.addEventListener("pagehide", () => source && source.close());
  window.addEventListener("pageshow", (event) => event.persisted && turn(""));
}
