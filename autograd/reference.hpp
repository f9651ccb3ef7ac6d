// The reference semantics: every operation in plain f64 loops, without plans, passes or kernels. What tests compare plans with.
#pragma once

#include <rewind/autograd/operator.hpp>

namespace rw::detail {

/// Runs a program on f64 arrays, instruction by instruction.
std::vector<Array> interpret(const Program& program, std::vector<Array> inputs, const InterpretContext& context = {});

/// Elementwise value with std's functions, broadcasting by position.
void interpret_elementwise(op::Code code, const Type& type, std::span<const Array* const> in, Array& out);

/// Position in `from`'s data of the element at `index` of a broadcast to `to`.
Index broadcast_position(const Shape& from, const Shape& to, std::span<const Index> index);

/// Calls f(index, linear position) for every element of a shape, row-major.
template <class F>
void for_each_index(const Shape& shape, F f) {
  Index index[max_rank] = {};
  for (Index n = 0, size = shape.size(); n < size; ++n) {
    f(std::span<const Index>(index, static_cast<std::size_t>(shape.rank())), n);
    for (int a = shape.rank() - 1; a >= 0 && ++index[a] == shape[a]; --a) index[a] = 0;
  }
}

Array to_array(const Tensor& tensor);
Tensor to_tensor(const Array& array, DType dtype);

}  // namespace rw::detail
