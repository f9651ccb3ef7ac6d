// Initialisation of parameters: what fills a new tensor. It stands beside Parameter, whose default it gives.
#pragma once

#include <rewind/core/tensor.hpp>

namespace rw {

/// Makes the first value of a parameter: a function of the shape and two numbers, drawing from this thread's generator.
struct Initializer {
  Tensor (*make)(const Shape& shape, double a, double b);
  double a = 0, b = 0;
  Tensor operator()(const Shape& shape) const { return make(shape, a, b); }
};

/// Shapes are [inputs, outputs]: fan-in is the product of all extents but the last, fan-out the last.
namespace init {
Initializer zeros();
Initializer constant(double value);
Initializer uniform(double low, double high);
Initializer normal(double mean, double deviation);
/// U(+-gain sqrt(6 / (fan_in + fan_out))) (Glorot & Bengio 2010, equation 16).
Initializer glorot(double gain = 1);
/// N(0, gain^2 / fan_in), gain sqrt(2) for relu (He et al. 2015, equation 10).
Initializer kaiming(double gain = 1.4142135623730951);
/// Rows or columns orthonormal, times gain, in square blocks where the last extent is a multiple of the first (Saxe et al. 2014).
Initializer orthogonal(double gain = 1);
/// glorot for rank >= 2, zeros below.
Initializer standard();
}  // namespace init

}  // namespace rw
