#include <rewind/autograd/gradcheck.hpp>

#include <algorithm>
#include <cmath>
#include <rewind/autograd/gradients.hpp>
#include <rewind/autograd/ops.hpp>
#include <rewind/core/format.hpp>

namespace rw {

namespace {

using Function = std::function<Variable(const std::vector<Variable>&)>;

double value_of(const Function& f, const std::vector<Tensor>& xs) {
  std::vector<Variable> variables(xs.begin(), xs.end());
  return f(variables).item();
}

void check(const Function& f, const std::vector<Tensor>& xs, const GradcheckOptions& options, const char* order, GradcheckReport& report) {
  std::vector<Variable> variables(xs.begin(), xs.end());
  auto found = detail::gradients(f(variables), variables);
  for (std::size_t n = 0; n < xs.size(); ++n) {
    Tensor gradient = found[n].value();
    const double* g = gradient.data<double>();
    std::vector<double> numeric(static_cast<std::size_t>(xs[n].size()));
    double scale = 1e-30;
    for (Index e = 0; e < xs[n].size(); ++e) {
      auto moved = xs;
      double at = std::as_const(moved[n]).data<double>()[e], step = options.step * std::max(1.0, std::fabs(at));
      double low, high;
      moved[n] = xs[n].copy();
      moved[n].data<double>()[e] = at + step;
      high = value_of(f, moved);
      moved[n].data<double>()[e] = at - step;
      low = value_of(f, moved);
      numeric[e] = (high - low) / (2 * step);
      scale = std::max({scale, std::fabs(g[e]), std::fabs(numeric[e])});
    }
    for (Index e = 0; e < xs[n].size(); ++e) {
      double error = std::fabs(g[e] - numeric[e]) / std::max(scale, 1e-3);
      if (error > report.worst || !std::isfinite(error)) report.worst = error;
      if (!(error <= options.tolerance) && report.message.empty())
        report.message = fmt::format("gradcheck: {} order, operand {}, entry {}: the gradient is {}, the difference quotient {}", order, n,
                                     e, g[e], numeric[e]);
    }
  }
}

}  // namespace

GradcheckReport gradcheck(const Function& f, const std::vector<Variable>& xs, const GradcheckOptions& options) {
  std::vector<Tensor> values;
  for (const auto& x : xs) values.push_back(x.value().cast(DType::f64).copy());
  GradcheckReport report;
  check(f, values, options, "first", report);
  if (options.second_order) {
    // The gradient of <weights, gradient>, with weights that are fixed and differ from entry to entry.
    Function projected = [&](const std::vector<Variable>& v) {
      auto g = detail::gradients(f(v), v);
      Variable total = 0.0;
      for (const auto& part : g) {
        Tensor weights(part.shape(), DType::f64);
        double* w = weights.data<double>();
        for (Index e = 0; e < weights.size(); ++e) w[e] = std::cos(1.7 * static_cast<double>(e) + 0.3);
        total = total + sum(part * Variable(weights));
      }
      return total;
    };
    check(projected, values, options, "second", report);
  }
  report.passed = report.message.empty() && std::isfinite(report.worst);
  return report;
}

GradcheckReport gradcheck(const std::function<Variable(const Variable&)>& f, const Variable& x, const GradcheckOptions& options) {
  return gradcheck([&](const std::vector<Variable>& v) { return f(v[0]); }, std::vector<Variable>{x}, options);
}

}  // namespace rw
