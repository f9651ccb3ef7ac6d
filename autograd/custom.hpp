// Operations with a forward function on tensors and a gradient rule of the user's own.
#pragma once

#include <functional>
#include <rewind/autograd/variable.hpp>
#include <string>

namespace rw {

/// y = forward(x.value()) of the same shape and dtype as x, with gradient rule backward(g, x) -> Variable of x's shape, a formula.
/// forward runs when y is needed, once for each time that y is computed, and must not use the tape: it depends on x alone. Closures and the
/// numbers of backward are inputs of plans. Throws ShapeError, DTypeError when it runs if forward's result does not fit, and at the
/// differentiation, ShapeError or TapeError, if backward's does not.
Variable custom(const std::string& name, const Variable& x, std::function<Tensor(const Tensor&)> forward,
                std::function<Variable(const Variable& g, const Variable& x)> backward);

}  // namespace rw
