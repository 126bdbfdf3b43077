// The page: the list of files, the comparison, and the table that follows transfers.

const find = (selector) => document.querySelector(selector);

// An element with properties and children; text is never taken for markup.
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function digits(value, options) {
  return new Intl.NumberFormat("en", options).format(value);
}

function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  for (; count >= 1000 && unit < units.length - 1; unit++) count /= 1000;
  return `${digits(count, { maximumSignificantDigits: count < 100 ? 3 : 4 })} ${units[unit]}`;
}

function duration(seconds) {
  if (seconds < 1) return `${digits(seconds * 1000, { maximumSignificantDigits: 3 })} ms`;
  return `${digits(seconds, { maximumFractionDigits: seconds < 10 ? 2 : 1 })} s`;
}

// Files --------------------------------------------------------------------------

const address = (prefix, file) => prefix + encodeURIComponent(file.name);

const previews = {
  image: (src) => make("img", { src, alt: "", loading: "lazy" }),
  audio: (src) => make("audio", { src, controls: true, preload: "metadata" }),
  video: (src) => make("video", { src, controls: true, preload: "metadata" }),
};

const order = ["image", "video", "audio", "text"];
const kindOf = (file) => file.type.split("/")[0];
const rank = (file) => (order.indexOf(kindOf(file)) + order.length + 1) % (order.length + 1);

function card(file) {
  const kind = kindOf(file);
  const preview = previews[kind]?.(address("/media/", file));
  const facts = [bytes(file.size), file.type];
  if (file.compressed) facts.push(`${bytes(file.compressed)} on the wire, as .gz`);
  const links = [make("a", { href: address("/download/", file) }, "Download")];
  if (kind === "image" || kind === "text") {
    links.unshift(make("a", { href: address("/media/", file) }, "Open"));
  }
  if (kind !== "image") {
    links.push(make("a", { href: address("/copied/", file) }, "Copied by Python"));
  }
  const about = make("div", { className: "about" },
    make("h3", {}, file.name),
    make("p", {}, facts.join(" · ")),
    make("nav", {}, ...links));
  if (kind === "audio") about.append(preview);
  const className = kind === "audio" ? "card wide" : "card";
  const shown = preview && kind !== "audio" ? [preview, about] : [about];
  return make("article", { className }, ...shown);
}

// Comparison ---------------------------------------------------------------------

const results = {};

async function processorSeconds() {
  return (await (await fetch("/processor")).json()).seconds;
}

async function measure(url) {
  const cpu = await processorSeconds();
  const start = performance.now();
  const response = await fetch(url, { cache: "no-store" });
  await response.body.pipeTo(new WritableStream());
  const seconds = (performance.now() - start) / 1000;
  return { cpu: (await processorSeconds()) - cpu, seconds };
}

function prepare(way, file) {
  const url = address(way.dataset.prefix, file);
  const button = way.querySelector("button");
  way.querySelector("code").textContent = `curl -o /dev/null ${location.origin}${url}`;
  button.textContent = `Send ${bytes(file.size)}`;
  button.disabled = false;
  button.onclick = async () => {
    const buttons = document.querySelectorAll(".way button");
    buttons.forEach((each) => { each.disabled = true; });
    const result = await measure(url);
    const speed = digits(file.size / 1e6 / result.seconds, { maximumFractionDigits: 0 });
    way.querySelector(".result").replaceChildren(
      make("b", {}, duration(result.cpu)), " of processor time, ",
      `${duration(result.seconds)} in this browser (${speed} MB/s)`);
    results[way.dataset.prefix] = result;
    conclude();
    buttons.forEach((each) => { each.disabled = false; });
  };
}

function conclude() {
  const zero = results["/download/"], copied = results["/copied/"];
  if (!zero || !copied) return;
  const times = digits(copied.cpu / zero.cpu, { maximumSignificantDigits: 2 });
  find("#verdict").textContent = `Copying took ${times} times the processor time.`;
}

// Transfers ----------------------------------------------------------------------

const SHOWN = 50;
const NONE = "–";

// The stylesheet shows the label where there is no room for a head of the table.
function cell(label, content, className = "") {
  const empty = content === NONE ? "none" : "";
  const element = make("td", { className: `${label} ${className} ${empty}` }, content);
  element.dataset.label = label;
  return element;
}

function sent(transfer) {
  if (transfer.sent === transfer.promised) return bytes(transfer.sent);
  return `${bytes(transfer.sent)} of ${bytes(transfer.promised)}`;
}

function row(transfer) {
  const copied = transfer.strategy === "copy";
  const badge = make("span", { className: `badge ${copied ? "copy" : "zero"}` }, transfer.strategy);
  const speed = digits(transfer.sent / 1e6 / transfer.seconds, { maximumSignificantDigits: 3 });
  const calm = ["complete", "under way", "disconnected"].includes(transfer.outcome);
  const amount = cell("sent", sent(transfer), "number");
  amount.title = `${digits(transfer.sent)} bytes`;
  if (transfer.outcome === "under way") {
    amount.append(make("progress", { value: transfer.sent, max: transfer.promised }));
  }
  const started = new Date(transfer.started * 1000).toLocaleTimeString("en-GB");
  return make("tr", {},
    cell("started", started, "quiet"),
    cell("file", transfer.name),
    cell("status", String(transfer.status)),
    cell("strategy", badge),
    cell("reason", transfer.reason, "quiet"),
    cell("guard", transfer.guard, "quiet"),
    amount,
    cell("outcome", transfer.outcome, calm ? "" : "bad"),
    cell("time", duration(transfer.seconds), "number"),
    cell("CPU", transfer.cpu_seconds ? duration(transfer.cpu_seconds) : NONE, "number"),
    cell("MB/s", transfer.sent < 1e6 ? NONE : speed, "number"));
}

function show(news) {
  find("#under-way").replaceChildren(...news.under_way.map(row));
  const finished = find("#finished");
  finished.prepend(...news.finished.map(row).reverse());
  while (finished.rows.length > SHOWN) finished.lastElementChild.remove();
  find("#nothing").hidden = finished.rows.length + news.under_way.length > 0;
}

function follow() {
  const live = find("#live");
  const source = new EventSource("/transfers");
  source.onopen = () => {
    find("#finished").replaceChildren(); // the stream starts from the beginning
    live.className = "on";
    live.textContent = "live";
  };
  source.onerror = () => {
    live.className = "";
    live.textContent = "the server is away; trying again";
  };
  source.onmessage = (message) => show(JSON.parse(message.data));
}

follow();
const files = await (await fetch("/files")).json();
files.sort((a, b) => rank(a) - rank(b));
find("#files").append(...files.map(card));
const largest = files.reduce((a, b) => (a.size > b.size ? a : b));
for (const way of document.querySelectorAll(".way")) prepare(way, largest);
