"use strict";
// Keeps every file of the page, so that it opens without a network. Another export has another version, and is fetched.
importScripts("files.js");

const PREFIX = `sightline ${self.registration.scope} `;
const NAME = PREFIX + SIGHTLINE_FILES.version;

self.addEventListener("install", (event) => {
  const asked = SIGHTLINE_FILES.names.map((name) => new Request(name, { cache: "reload" }));
  event.waitUntil(caches.open(NAME).then((cache) => cache.addAll(asked)).then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  const old = caches.keys().then((names) => names.filter((name) => name.startsWith(PREFIX) && name !== NAME));
  event.waitUntil(old.then((names) => Promise.all(names.map((name) => caches.delete(name)))).then(() => self.clients.claim()));
});

self.addEventListener("fetch", (event) => {
  if (event.request.method !== "GET") return;
  const kept = caches.open(NAME).then((cache) => cache.match(event.request, { ignoreSearch: true }));
  event.respondWith(kept.then((found) => found || fetch(event.request)));
});
