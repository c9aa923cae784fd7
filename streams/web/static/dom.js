// The page's few needs of the DOM. Data becomes text, never markup.

export function byId(id) {
  return document.getElementById(id);
}

/** An element: make("td", "number", "12") or with other elements as children. */
export function make(tag, className = "", ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

/** Write only what changed: what the reader has selected stays selected, and a screen reader is not woken. */
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function show(node, shown) {
  if (node.hidden === shown) node.hidden = !shown;
}

/**
 * Make `parent` hold one child an item, in order, keeping the children there are by key: focus and selection survive.
 * `create(item)` makes a child, `update(child, item, index)` fills it.
 */
export function sync(parent, items, keyOf, create, update) {
  const former = new Map(Array.from(parent.children, (child) => [child.dataset.key, child]));
  let next = parent.firstElementChild;
  items.forEach((item, index) => {
    const key = String(keyOf(item));
    let child = former.get(key);
    former.delete(key);
    if (!child) {
      child = create(item);
      child.dataset.key = key;
    }
    if (child === next) next = next.nextElementSibling;
    else parent.insertBefore(child, next);
    update(child, item, index);
  });
  for (const child of former.values()) child.remove();
}

/** A bar of the arms' shares, in their colours. */
export function shareBar(bar, arms) {
  sync(bar, arms, (arm) => arm.id, () => make("span"), (part, arm, i) => {
    part.className = armClass(i);
    part.style.flexGrow = String(arm.ppm);
  });
  const text = arms.map((arm) => `${arm.id} ${(arm.ppm / 1e4).toFixed(1)} %`).join(", ");
  if (bar.title !== text) bar.title = text;
}

export const COLOURS = 8;

/** Colour of the i-th arm of the spec; arms after the eighth repeat the colours with stripes. */
export function armClass(i) {
  return `arm arm-${i % COLOURS}${i >= COLOURS ? " striped" : ""}`;
}
