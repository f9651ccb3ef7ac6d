// What structured operations and passes need of the elementwise ones. Internal to autograd.
#pragma once

#include <initializer_list>
#include <rewind/autograd/operator.hpp>
#include <span>

namespace rw::detail {

/// Records an elementwise operation: broadcasting and dtypes checked.
Variable elementwise(op::Code code, std::initializer_list<const Variable*> operands);

/// The dtype that operands promote to: numbers follow the others (f32 among themselves), the condition of `where` does not count.
DType operand_dtype(op::Code code, std::span<const Type* const> types);

/// The lifted operand `input` with enough axes of extent 1 behind the time axis for a body rank of `rank`.
int lift_rank(Lift& lift, int input, int rank);

}  // namespace rw::detail
