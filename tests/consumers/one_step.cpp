// What a user of the package writes: one training step of an LSTM on random data, and its loss before and after.
#include <rewind/rewind.hpp>

#include <cstdio>

struct Model {
  rw::nn::Lstm lstm{3, 8};
  rw::nn::Linear head{8, 2};
  rw::Variable loss(const rw::Variable& x, const rw::Variable& target) const {
    auto [y, last] = lstm(x);
    return rw::nn::mean_squared_error(head(y), target);
  }
  REWIND_FIELDS(lstm, head)
};

int main() {
  rw::seed(1);
  Model model;
  rw::optim::Adam adam(rw::parameters(model), {.rate = 1e-2});
  const rw::Variable x = rw::random::normal({5, 4, 3}), target = rw::random::normal({5, 4, 2});
  auto before = model.loss(x, target);
  double first = before.item();
  rw::backward(before);
  adam.step();
  double second = model.loss(x, target).item();
  std::printf("loss %.4f -> %.4f\n", first, second);
  return second < first ? 0 : 1;
}
