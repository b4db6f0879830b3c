"""1x1 convolutions and dense layers in single precision by Strassen's multiplication."""
