// Loads uPlot, where the coordinator was built with it. Its smaller file is a script and no module: it is half the
// bytes.

let loading = null;

/** The constructor, or null where the page was built without it. */
export function loadUplot() {
  const style = Object.assign(document.createElement('link'), { rel: 'stylesheet', href: '/assets/uPlot.min.css' });
  const script = Object.assign(document.createElement('script'), { src: '/assets/uPlot.iife.min.js' });
  loading ??= Promise.all([loaded(style), loaded(script)]).then(
    () => globalThis.uPlot ?? null,
    () => null,
  );
  return loading;
}

function loaded(node) {
  return new Promise((resolve, reject) => {
    node.addEventListener('load', resolve);
    node.addEventListener('error', reject);
    document.head.append(node);
  });
}
