// What the tables of `./dev bench ops` share.
#pragma once

#include <functional>
#include <rewind/core/dtype.hpp>

namespace rw::bench {

/// Best seconds of one call within `span` seconds. Bursts are short, so that one escapes whatever else the machine does.
double best_seconds(const std::function<void()>& call, double span = 0.2);

struct Limits {
  double flops;  ///< a second: independent multiply-adds of the dtype, all threads
  double bytes;  ///< a second, read and written: copies that no cache holds
  bool split;    ///< calls may use the team
};

/// Matrix products by shape and form, in GF/s and as a share of `flops`.
void products(DType dtype, const Limits& limits);
/// Elementwise operations and what else is not a product: time an element in L1, and from memory as a share of `bytes`.
void operations(DType dtype, const Limits& limits);

}  // namespace rw::bench
