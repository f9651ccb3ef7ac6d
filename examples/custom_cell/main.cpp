// custom_cell: a recurrent cell of one's own, written forward in ten lines, learns to add.
//
// The adding problem (Hochreiter & Schmidhuber 1997, section 5.4): each step brings a number from [0, 1) and a mark; just two steps of the
// sequence are marked, and at the end the sum of their numbers is asked for. Who always answers 1 has a mean squared error of 1/6 (papers
// often print 0.1767); doing better takes a memory that holds over the whole sequence.
#include <rewind/rewind.hpp>

#include <cstdio>

using namespace rw;

/// Coupled-gate LSTM with layer norm inside: nothing of it is in the library.
struct CoupledCell {
  Parameter wx, wh, b;  // [I,3H] [H,3H] [3H]
  nn::LayerNorm norm;   // H
  struct State {
    Variable h, c;
  };

  CoupledCell(Index inputs, Index hidden)
      : wx({inputs, 3 * hidden}), wh({hidden, 3 * hidden}, init::orthogonal()), b({3 * hidden}), norm(hidden) {}

  State operator()(const Variable& x, const State& s) const {
    auto [f, g, o] = split<3>(matmul(x, wx) + matmul(s.h, wh) + b);
    auto keep = sigmoid(f + 2);  // begins by remembering
    auto c = keep * s.c + (1 - keep) * tanh(g);
    return {sigmoid(o) * tanh(norm(c)), c};
  }
  REWIND_FIELDS(wx, wh, b, norm)
};

struct Adder {
  nn::Recurrent<CoupledCell> rnn;
  nn::Linear head;
  explicit Adder(Index hidden) : rnn(2, hidden), head(hidden, 1) {}
  Variable operator()(const Variable& x) const { return head(rnn.output(rnn(x).second)); }  // [T,B,2] -> [B,1]
  REWIND_FIELDS(rnn, head)
};

struct Problem {
  Tensor x, sum;  // [T,B,2] numbers and marks, [B,1]
};

Problem make(Index time, Index batch) {
  const Tensor numbers = random::uniform({time, batch}), places = random::uniform({2, batch});
  Problem p{Tensor::zeros({time, batch, 2}), Tensor::zeros({batch, 1})};
  const float *number = numbers.data<float>(), *place = places.data<float>();
  float *x = p.x.data<float>(), *sum = p.sum.data<float>();
  for (Index i = 0; i < time * batch; ++i) x[2 * i] = number[i];
  for (Index b = 0; b < batch; ++b) {
    const Index half = time / 2;
    for (Index t : {static_cast<Index>(place[b] * static_cast<float>(half)),
                    half + static_cast<Index>(place[batch + b] * static_cast<float>(time - half))}) {
      x[2 * (t * batch + b) + 1] = 1;
      sum[b] += number[t * batch + b];
    }
  }
  return p;
}

int main() {
  rw::train::ProfileAtEnd profile;  // REWIND_PROFILE=1 prints where the time went
  const Index time = 50, batch = 64, steps = 1000;
  seed(1);
  Adder model(64);
  optim::Adam adam(parameters(model), {.rate = 1e-2});
  adam.clip_norm(1);
  adam.schedule(optim::warmup(50) * optim::cosine(steps));

  const Problem test = make(time, 2000);
  auto error = [&] {
    Evaluation guard;
    return nn::mean_squared_error(model(test.x), test.sum).item();
  };
  const double baseline = mean(square(Variable(test.sum) - 1)).item();
  std::printf("adding problem, %d steps a sequence; always answering 1: mean squared error %.4f (1/6 in expectation)\n",
              static_cast<int>(time), baseline);
  for (Index step = 1; step <= steps; ++step) {
    const Problem p = make(time, batch);
    backward(nn::mean_squared_error(model(p.x), p.sum));
    adam.step();
    if (step % 200 == 0) std::printf("after %4d batches of %d: %.5f\n", static_cast<int>(step), static_cast<int>(batch), error());
  }
  const double end = error();
  std::printf("final mse=%.5f baseline=%.4f\n", end, baseline);
  return end < baseline / 10 ? 0 : 1;
}
