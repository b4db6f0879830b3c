/** What the network reads. */
export interface Inputs {
{{inputs}}
}

/** What it computes, as fresh arrays. */
export interface Outputs {
{{outputs}}
}

/** A network in an instance of WebAssembly. */
export interface Network {
  /** How many threads `compute` runs on. */
  readonly threads: number;
  /** Why there are fewer of them than were asked for; else empty. */
  readonly note: string;
  /** On the caller's thread. */
  run(inputs: Inputs): Outputs;
  /** On all threads; one run at a time. */
  compute(inputs: Inputs): Promise<Outputs>;
  /** End the threads. */
  stop(): Promise<void>;
  /** Run a stored input; throws an error if the answer isn't the stored one. */
  selftest(): void;
  /** Give the state that the network keeps from run to run its first values. */
  reset(): void;
}

export interface Tensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: "f64" | "f32" | "f16" | "i64" | "i32" | "i16" | "i8" | "u8" | "bool";
  /** Of quantized tensors: a number is (element - zeroPoint) * scale. */
  readonly scale?: number;
  readonly zeroPoint?: number;
}

export interface Class {
  readonly index: number;
  readonly label: string;
  readonly probability: number;
}

export interface Sources {
  code?: BufferSource | WebAssembly.Module;
  weights?: BufferSource;
  /** Of `compute`, of code that was built with `--threads`; where memory can't be shared there is one. */
  threads?: number;
}

/** The network, from the files beside this module unless others are given. */
export function load(sources?: Sources): Promise<Network>;
/** The network of its code and its weights, unless these are inside the code. */
export function create(code: BufferSource | WebAssembly.Module, weights?: BufferSource): Promise<Network>;

export const inputs: readonly Tensor[];
export const outputs: readonly Tensor[];
/** The names of the classes, by index; empty where they are unknown. */
export const labels: readonly string[];
/** The most probable classes, of the scores in the first output. */
export function classify(outputs: Outputs, most?: number): Class[];
