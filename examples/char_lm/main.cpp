// char_lm: trains a recurrent language model on the characters of a text, and lets it write. ./dev train --help lists the options.
#include <unistd.h>
#include <rewind/core/format.hpp>
#include <rewind/core/team.hpp>
#include <rewind/train/process.hpp>
#include <rewind/train/utf8.hpp>

#include <cmath>
#include <new>

#include "model.hpp"
#include "options.hpp"

namespace {

using namespace rw;

/// Beside the program lies build/corpora, where ./dev setup puts the text.
std::string default_text() {
  char program[4096];
  const ssize_t length = ::readlink("/proc/self/exe", program, sizeof program);
  std::string folder(program, length > 0 ? static_cast<std::size_t>(length) : 0);
  for (int up = 0; up < 3; ++up) folder.resize(std::min(folder.size(), folder.find_last_of('/')));
  const std::string path = folder + "/corpora/kjv.txt";
  if (::access(path.c_str(), R_OK) != 0)
    fail<IoError>("{} is not there (./dev setup takes it out of Debian's bible-kjv; or give --data FILE)", path);
  return path;
}

/// Refuses a model that cannot fit: weights, gradients and Adam's two slots, and the states of one batch.
void require_memory(const Options& o, Index vocabulary, int gates) {
  const double width = static_cast<double>(o.hidden), above = static_cast<double>(o.layers - 1);
  const double weights = gates * width * (static_cast<double>(o.embedding) + width * (1 + 2 * above)) +
                         static_cast<double>(vocabulary) * (static_cast<double>(o.embedding) + width);
  const double batch = static_cast<double>(o.batch) * static_cast<double>(o.time) * (width * (1 + above) + static_cast<double>(vocabulary));
  const double need = 4 * (4 * weights + batch),
               have = static_cast<double>(::sysconf(_SC_PHYS_PAGES)) * static_cast<double>(::sysconf(_SC_PAGE_SIZE));
  if (need > have)
    fail<ValueError>(
        "the run needs at least {:.1f} GB of memory, this machine has {:.1f} (a smaller --hidden, --layers, --batch or --time)", need / 1e9,
        have / 1e9);
}

template <class Recurrent>
CharModel<Recurrent> make_model(const Options& o, Index vocabulary, const typename Recurrent::Options& recurrent) {
  return CharModel<Recurrent>(vocabulary, o.embedding, o.hidden, o.dropout, recurrent);
}

/// Calls f(model, gates) with the model that the options name.
template <class F>
void with_model(const Options& o, Index vocabulary, F&& f) {
  const int gates = o.cell == "lstm" ? 4 : o.cell.starts_with("gru") ? 3 : 1;
  require_memory(o, vocabulary, gates);
  if (o.cell == "lstm") return f(make_model<nn::Lstm>(o, vocabulary, {.layers = o.layers}));
  if (o.cell == "gru") return f(make_model<nn::Gru>(o, vocabulary, {.layers = o.layers, .cell = {nn::Reset::after}}));
  if (o.cell == "gru-before") return f(make_model<nn::Gru>(o, vocabulary, {.layers = o.layers, .cell = {nn::Reset::before}}));
  if (o.cell == "rnn") return f(make_model<nn::Rnn>(o, vocabulary, {.layers = o.layers, .cell = {nn::Activation::tanh}}));
  f(make_model<nn::Rnn>(o, vocabulary, {.layers = o.layers, .cell = {nn::Activation::relu}}));
}

template <class Model>
void write_sample(const Model& model, const train::Vocabulary& vocabulary, const Options& o) {
  const train::GenerateOptions options{
      .length = o.sample, .prompt = o.prompt, .sampling = {o.temperature, o.top_k}, .seed = static_cast<std::uint64_t>(o.seed)};
  fmt::print("{}{}\n", o.prompt, train::generate(model, vocabulary, options));
}

/// Lets the model of a finished run write.
void sample_only(const Options& o) {
  const std::string path = o.out + "/config.json";
  const Config config = from_json(io::read_file(path), path);
  const train::Vocabulary vocabulary(train::decode_utf8(config.vocabulary, path));
  with_model(o, vocabulary.size(), [&](auto model) {
    train::load_parameters(train::Checkpoint::read(o.out + "/model.safetensors"), "", parameters(model));
    write_sample(model, vocabulary, o);
  });
}

/// The text of the run, and what config.json says of it.
Config describe(const Options& o, const train::Text& text) {
  Config config{o, text.fingerprint(), train::encode_utf8(text.vocabulary().symbols()), text.size()};
  if (!o.resume) {
    const Index bytes = train::xz_bytes(o.data);
    config.xz_bits = bytes < 0 ? 0 : 8 * static_cast<double>(bytes) / static_cast<double>(text.size());
    return config;
  }
  const Config saved = from_json(train::saved_config(o.out), o.out + "/last");
  if (saved.fingerprint != config.fingerprint)
    fail<ValueError>("--data: {} is not the text that the run in {} was begun with (give the same, or train into another --out)", o.data,
                     o.out);
  config.xz_bits = saved.xz_bits;
  return config;
}

void train_and_sample(Options o) {
  if (o.data.empty()) o.data = default_text();
  const auto text = train::Text::open(o.data, {.valid = o.valid});
  text.vocabulary().encode(std::string_view(o.prompt), "--prompt");
  text.train().stream({.batch = o.batch, .time = o.time});
  const Config config = describe(o, text);
  fmt::print("{}: {} symbols, {} of them different, {} held out\n", o.data, train::with_commas(text.size()), text.vocabulary().size(),
             train::with_commas(text.valid().size()));

  seed(static_cast<std::uint64_t>(o.seed));
  with_model(o, text.vocabulary().size(), [&](auto model) {
    const std::string name = fmt::format("{} {} x {}, {} parameters", o.cell, o.layers, o.hidden, train::with_commas(count(model)));
    fmt::print("{}, {} threads\n{}\n", name, threads(), train::model_table(table(model)));
    optim::Adam adam(parameters(model), {.rate = o.rate});
    adam.clip_norm(o.clip);
    train::Trainer trainer(model, adam, text,
                           {.batch = o.batch,
                            .time = o.time,
                            .steps = o.steps,
                            .seconds = o.steps > 0 ? 0 : o.seconds,
                            .every = o.every,
                            .out = o.out,
                            .resume = o.resume,
                            .config = to_json(config),
                            .title = name + ", on " + o.data.substr(o.data.find_last_of('/') + 1),
                            .reference_bits = config.xz_bits});
    const train::Summary end = trainer.run();
    if (end.interrupted) {
      fmt::print("\nstopped after step {}; all is saved. To go on: char_lm --resume --out {}\n", end.step, o.out);
      return;
    }
    if (o.sample > 0) {
      fmt::print("\n");
      write_sample(model, text.vocabulary(), o);
    }
    fmt::print("\nfinal step={} tokens={} train_nats={:.4f} valid_nats={:.4f} bits_per_char={:.4f} tokens_per_s={:.0f} seconds={:.1f}\n",
               end.step, end.tokens, end.train_nats, end.valid_nats, end.valid_nats / std::log(2.0), end.tokens_per_s, end.seconds);
  });
}

}  // namespace

int main(int argc, char** argv) {
  try {
    Options options;
    if (!parse(argc, argv, options)) return 0;
    if (options.threads > 0) set_threads(static_cast<int>(options.threads));
    const train::ProfileAtEnd profile(options.profile);
    options.only_sample ? sample_only(options) : train_and_sample(options);
    return 0;
  } catch (const Error& error) {
    fmt::print(stderr, "char_lm: {}\n", error.what());
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "char_lm: out of memory (a smaller --hidden, --layers, --batch or --time)\n");
  }
  return 1;
}
