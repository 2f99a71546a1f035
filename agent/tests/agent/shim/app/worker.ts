import { Worker } from "bullmq";
import { run } from "./common.cjs";

class Typed extends Worker<{ ms: number }> {
  readonly kind: string = "typed";
}
void run(Typed as unknown as typeof Worker);
