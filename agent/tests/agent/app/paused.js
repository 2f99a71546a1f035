// A worker that the application pauses until it is told otherwise.
import { worker } from "./common.js";
worker().pause();
