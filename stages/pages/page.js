"use strict";
// Everything that comes from a model is put in as text, never as markup.
const read = (element) => JSON.parse(element.textContent);
const tasks = read(document.getElementById("tasks"));
const models = [];
const outcomes = {};
for (const element of document.querySelectorAll("script.outcomes")) {
  const model = element.dataset.model;
  models.push(model);
  outcomes[model] = new Map(read(element).map((entry) => [entry[0], entry]));
}
const [query, left, right, filter, list, count, more] =
  ["query", "left", "right", "filter", "list", "count", "more"].map((id) => document.getElementById(id));
const STEP = 50;
let shown = STEP;

function make(tag, text, name) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (name) element.className = name;
  return element;
}

const entry = (model, id) => outcomes[model] && outcomes[model].get(id);
const solved = (model, id) => { const found = entry(model, id); return Boolean(found) && 2 * found[2] >= found[1]; };
const ever = (model, id) => { const found = entry(model, id); return Boolean(found) && found[2] > 0; };
const FILTERS = {
  all: () => true,
  won: (id) => !solved(left.value, id) && solved(right.value, id),
  lost: (id) => solved(left.value, id) && !solved(right.value, id),
  solved: (id) => ever(right.value, id),
  unsolved: (id) => !ever(right.value, id),
};

function matches(task, wanted) {
  if (!wanted) return true;
  if (task.slice(0, 4).some((text) => text.toLowerCase().includes(wanted))) return true;
  return [left.value, right.value].some((model) => {
    const found = entry(model, task[0]);
    return found && found[3].some((answer) =>
      [answer[0], answer[2], answer[3]].some((text) => String(text).toLowerCase().includes(wanted)));
  });
}

function side(model, id) {
  const column = make("div");
  const found = entry(model, id);
  column.append(make("h4", found ? `${model}: ${found[2]} of ${found[1]} pass` : `${model}: no samples`));
  let told = 0;
  for (const [completion, reward, level, detail, times] of found ? found[3] : []) {
    told += times;
    const line = `${reward} ${level}${times > 1 ? `, ${times} times` : ""}${detail ? `: ${detail}` : ""}`;
    column.append(make("div", line, reward === 1 ? "pass" : "fail"), make("pre", completion));
  }
  if (found && told < found[1]) column.append(make("p", `${found[1] - told} more samples, of other answers`, "note"));
  return column;
}

function fill(details, task) {
  const [id, language, prompt, tests, reference] = task;
  details.append(make("h4", `Prompt (${language})`), make("pre", prompt));
  const sides = make("div", undefined, "sides");
  sides.append(side(left.value, id));
  if (right.value !== left.value) sides.append(side(right.value, id));
  details.append(sides);
  if (tests) details.append(make("h4", "Tests"), make("pre", tests));
  if (reference) details.append(make("h4", "Reference"), make("pre", reference));
}

function row(task) {
  const details = make("details", undefined, "task");
  const summary = make("summary", task[0]);
  for (const model of new Set([left.value, right.value])) {
    const found = entry(model, task[0]);
    if (found) summary.append(make("span", `${model} ${found[2]}/${found[1]}`, solved(model, task[0]) ? "solved" : ""));
  }
  details.append(summary);
  details.addEventListener("toggle", () => {
    if (details.open && details.childElementCount === 1) fill(details, task);
  });
  return details;
}

function show() {
  const wanted = query.value.trim().toLowerCase();
  const found = tasks.filter((task) => FILTERS[filter.value](task[0]) && matches(task, wanted));
  list.replaceChildren(...found.slice(0, shown).map(row));
  count.textContent = `${found.length} of ${tasks.length} tasks`;
  more.hidden = found.length <= shown;
}

for (const select of [left, right]) for (const model of models) select.append(make("option", model));
left.value = models[0];
right.value = models[models.length - 1];
for (const control of [query, left, right, filter]) {
  control.addEventListener("input", () => { shown = STEP; show(); });
}
more.addEventListener("click", () => { shown += STEP; show(); });
show();
