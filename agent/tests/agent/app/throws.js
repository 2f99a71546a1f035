// A worker that throws at its start, with what it should not say.
import "./common.js";
throw new Error(`cannot log in as ${process.env.DB_PASSWORD} \x1b[2J`);
