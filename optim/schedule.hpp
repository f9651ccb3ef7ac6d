// Learning rates over time: functions of the step's number, from 1, whose value multiplies the rule's rate. They compose by operator*.
#pragma once

#include <rewind/core/dtype.hpp>
#include <type_traits>
#include <utility>

namespace rw::optim {

/// A counted function of the step: any callable double(Index) will do.
class Schedule {
 public:
  Schedule() = default;  ///< 1 at every step
  template <class F>
  requires(std::is_invocable_r_v<double, const F&, Index> && !std::is_same_v<F, Schedule>) Schedule(F factor)
      : function_(new Callable<F>(std::move(factor))) {}
  Schedule(const Schedule& other) noexcept : function_(other.function_) {
    if (function_) ++function_->holders;
  }
  Schedule(Schedule&& other) noexcept : function_(std::exchange(other.function_, nullptr)) {}
  Schedule& operator=(Schedule other) noexcept {
    std::swap(function_, other.function_);
    return *this;
  }
  ~Schedule() {
    if (function_ && --function_->holders == 0) delete function_;
  }

  /// The factor at step `number`, from 1.
  double operator()(Index number) const { return function_ ? function_->at(number) : 1; }

 private:
  struct Function {
    virtual ~Function() = default;
    virtual double at(Index number) const = 0;
    int holders = 1;  // a schedule belongs to one thread, as its optimizer does
  };
  template <class F>
  struct Callable final : Function {
    explicit Callable(F f) : factor(std::move(f)) {}
    double at(Index number) const override { return factor(number); }
    F factor;
  };
  Function* function_ = nullptr;
};

/// The product of both factors at each step.
Schedule operator*(const Schedule& a, const Schedule& b);

Schedule constant(double factor = 1);
/// k / steps up to `steps`, then 1. Throws ValueError unless steps is at least 1.
Schedule warmup(Index steps);
/// From 1 at the first step down half a cosine, to `floor` from step steps + 1 on (Loshchilov & Hutter 2017, arXiv:1608.03983, without
/// restarts): floor + (1 - floor) (1 + cos(pi (k - 1) / steps)) / 2. Throws ValueError unless steps is at least 1.
Schedule cosine(Index steps, double floor = 0);
/// Times `factor` after each `every` steps: factor^floor((k - 1) / every). Throws ValueError unless every is at least 1.
Schedule step_decay(Index every, double factor);
/// factor^(k - 1).
Schedule exponential(double factor);

}  // namespace rw::optim
