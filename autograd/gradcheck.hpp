// Compares gradients with central differences, in f64.
#pragma once

#include <functional>
#include <rewind/autograd/variable.hpp>
#include <string>
#include <vector>

namespace rw {

struct GradcheckOptions {
  double step = 1e-6;         ///< relative to max(1, |x|)
  double tolerance = 1e-6;    ///< of the largest entry of each gradient
  bool second_order = false;  ///< also checks the gradient of a fixed random projection of the gradient
};

struct GradcheckReport {
  bool passed = false;
  double worst = 0;     ///< largest error, relative to the gradient's largest entry
  std::string message;  ///< which operand, which entry, both values
};

/// Checks d f / d x for a scalar f of one or several variables, which are cast to f64. A NaN fails. Entries are perturbed one by one.
GradcheckReport gradcheck(const std::function<Variable(const Variable&)>& f, const Variable& x, const GradcheckOptions& options = {});
GradcheckReport gradcheck(const std::function<Variable(const std::vector<Variable>&)>& f, const std::vector<Variable>& xs,
                          const GradcheckOptions& options = {});

}  // namespace rw
