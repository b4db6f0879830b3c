
/** The elements of the input for a picture with four bytes for each pixel, as `getImageData` of a canvas gives it. */
export function preprocess(picture: { data: ArrayLike<number>; width: number; height: number }): Inputs[keyof Inputs];
