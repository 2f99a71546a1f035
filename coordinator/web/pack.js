// Makes the directory that the coordinator embeds: the page's modules as one script without comments, so that few
// requests carry few bytes, its style, and uPlot's two files, which are empty where uPlot is not installed.
//
//   node pack.js DIRECTORY
//
// This is no bundler. It knows the two forms of `import` and the four of `export` that the modules use, and fails on
// any other. The page works from src/ as it is, too.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';

const IMPORT = /^import (?:\* as (\w+)|\{([^}]*)\}) from '\.\/([\w-]+)\.js';$/gm;
const EXPORT = /^export (?=(?:async function|function|const|class) (\w+))/gm;
const UPLOT = ['uPlot.iife.min.js', 'uPlot.min.css'];

const source = (name) => readFileSync(new URL(`src/${name}`, import.meta.url), 'utf8');
const variable = (module) => `$${module.replaceAll('-', '_')}`;

/** The files of the page by their names: what is served as / and as /assets/NAME. */
export function pack() {
  const page = source('index.html')
    .replace(/^<link rel="modulepreload".*\n/gm, '')
    .replace('/assets/main.js', '/assets/app.js');
  const files = { 'index.html': page, 'app.js': script('main'), 'style.css': withoutComments(source('style.css')) };
  for (const name of UPLOT) {
    const place = new URL(`node_modules/uplot/dist/${name}`, import.meta.url);
    files[name] = existsSync(place) ? readFileSync(place, 'utf8') : '';
  }
  return files;
}

/** Each module is a function that returns what it exports, after those that it imports. */
function script(entry) {
  const done = new Set();
  const under = new Set();
  const parts = [];
  const add = (module) => {
    if (done.has(module)) return;
    if (under.has(module)) throw new Error(`${module}.js imports itself, by way of others`);
    under.add(module);
    const text = source(`${module}.js`);
    for (const [, , , imported] of text.matchAll(IMPORT)) add(imported);
    parts.push(wrapped(module, text));
    done.add(module);
  };
  add(entry);
  return `'use strict';\n${parts.join('')}`;
}

function wrapped(module, text) {
  const exported = [...text.matchAll(EXPORT)].map(([, name]) => name);
  const body = text
    .replace(
      IMPORT,
      (_, all, some, from) => `const ${all ?? `{${some.replaceAll(' as ', ': ')}}`} = ${variable(from)};`,
    )
    .replace(EXPORT, '');
  const other = /^(?:import|export)\b.*$/m.exec(body);
  if (other) throw new Error(`${module}.js: pack.js does not know this form: ${other[0]}`);
  return `const ${variable(module)} = (() => {\n${withoutComments(body)}return { ${exported.join(', ')} };\n})();\n`;
}

/** Comments have lines of their own in these sources, and no string goes over several lines. */
function withoutComments(text) {
  let inComment = false;
  const isCode = (line) => {
    if (line.startsWith('/*')) inComment = true;
    const keeps = !inComment && line !== '' && !line.startsWith('//');
    if (line.endsWith('*/')) inComment = false;
    return keeps;
  };
  return `${text
    .split('\n')
    .map((line) => line.trim())
    .filter(isCode)
    .join('\n')}\n`;
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  const [, , directory] = process.argv;
  if (!directory) throw new Error('usage: node pack.js DIRECTORY');
  mkdirSync(directory, { recursive: true });
  for (const [name, text] of Object.entries(pack())) writeFileSync(`${directory}/${name}`, text);
  // Whoever passes uPlot on passes its licence on.
  const license = new URL('node_modules/uplot/LICENSE', import.meta.url);
  if (existsSync(license)) writeFileSync(`${directory}/uPlot-LICENSE.txt`, readFileSync(license));
}
