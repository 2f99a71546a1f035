// Not a worker.
console.log("plain", 1 + 1);
