#include "options.hpp"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <rewind/core/format.hpp>
#include <rewind/train/nearest.hpp>
#include <rewind/train/trainer.hpp>

#include <charconv>
#include <set>

namespace {

using nlohmann::ordered_json;
using rw::fail;
using rw::Index;
using rw::ValueError;

/// What a number may be: within [low, high], or within (low, high) if `open`.
struct Range {
  double low = 0, high = 0;
  bool open = false;
  bool holds(double x) const { return open ? x > low && x < high : x >= low && x <= high; }
  std::string words() const { return open ? fmt::format("between {} and {}", low, high) : fmt::format("from {} to {}", low, high); }
};

/// Calls f(name, unit, description, value, range) for each option; the value's type says how it is read.
template <class O, class F>
void each_option(O& o, F&& f) {
  f("data", "FILE", "text to learn from, UTF-8", o.data, Range{});
  f("cell", "KIND", "rnn, relu-rnn, lstm, gru (reset after the product) or gru-before", o.cell, Range{});
  f("layers", "N", "recurrent layers", o.layers, Range{1, 64});
  f("hidden", "UNITS", "width of a recurrent layer", o.hidden, Range{1, 65536});
  f("embedding", "UNITS", "width of the embedding; 0: the smaller of hidden and 128", o.embedding, Range{0, 65536});
  f("batch", "COLUMNS", "columns of text side by side", o.batch, Range{1, 65536});
  f("time", "SYMBOLS", "symbols through which gradients flow", o.time, Range{1, 1e6});
  f("rate", "RATE", "Adam's rate: warm-up over 50 steps, times a cosine to 0 over the run", o.rate, Range{0, 1e38, true});
  f("clip", "NORM", "largest norm of the gradient; 0: not clipped", o.clip, Range{0, 1e38});
  f("dropout", "SHARE", "dropped of the embedding and before the head", o.dropout, Range{0, 0.99});
  f("steps", "N", "length of the run in steps, instead of --seconds; 0: train nothing, let the model in --out write", o.steps,
    Range{0, 1e12});
  f("seconds", "S", "length of the run in seconds of training, evaluations not counted", o.seconds, Range{0, 1e9, true});
  f("seed", "N", "of all random numbers", o.seed, Range{0, 9e15});
  f("threads", "N", "threads; 0: all cores", o.threads, Range{0, 1024});
  f("valid", "SHARE", "held out for validation, at the text's end", o.valid, Range{0, 1, true});
  f("every", "STEPS", "steps from evaluation to evaluation", o.every, Range{1, 1e12});
  f("out", "FOLDER", "gets metrics.csv, config.json, model.safetensors, curve.png and the checkpoint last", o.out, Range{});
  f("sample", "SYMBOLS", "length of the text that the model writes at the end", o.sample, Range{0, 1e9});
  f("prompt", "TEXT", "what the model goes on from", o.prompt, Range{});
  f("temperature", "X", "of the sample: below 1 bolder in the likely, 0 always the likeliest", o.temperature, Range{0, 1e6});
  f("top-k", "K", "draw from the K likeliest symbols only; 0: from all", o.top_k, Range{0, 1e9});
}

const std::set<std::string> kinds = {"rnn", "relu-rnn", "lstm", "gru", "gru-before"};

void read_value(const std::string& name, const std::string& text, std::string& value, const Range&) {
  if (name == "cell" && !kinds.contains(text)) {
    const std::string meant = rw::train::nearest(text, std::vector<std::string>(kinds.begin(), kinds.end()));
    fail<ValueError>("--cell: no such kind: {} ({})", text,
                     meant.empty() ? "there are rnn, relu-rnn, lstm, gru, gru-before" : "did you mean " + meant + "?");
  }
  if (text.empty() && (name == "out" || name == "data")) fail<ValueError>("--{}: empty (give a path)", name);
  value = text;
}

template <class T>
void read_value(const std::string& name, const std::string& text, T& value, const Range& range) {
  constexpr bool whole = std::is_same_v<T, Index>;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc::result_out_of_range) fail<ValueError>("--{}: must be {}: got {}", name, range.words(), text);
  if (error != std::errc() || end != text.data() + text.size())
    fail<ValueError>("--{}: not a {}number: {}", name, whole ? "whole " : "", text);
  if (!range.holds(static_cast<double>(value))) fail<ValueError>("--{}: must be {}: got {}", name, range.words(), text);
}

std::string shown(const std::string& value) { return value == "\n" ? "a line's end" : value; }
template <class T>
std::string shown(T value) {
  return fmt::format("{}", value);
}

/// What every run may change when it goes on: how fast it computes, and where it lies.
bool is_free(const std::string& name) { return name == "threads" || name == "out"; }
/// Options that matter only to what a model writes.
bool is_about_samples(const std::string& name) {
  return name == "sample" || name == "prompt" || name == "temperature" || name == "top-k" || name == "seed" || name == "steps";
}

/// Refuses options given that differ from those of the run in the folder; takes over all others.
void take_over(const std::string& folder, const Options& saved, const std::set<std::string>& given, Options& options) {
  std::map<std::string, std::string> before;
  each_option(saved, [&](const std::string& name, auto, auto, const auto& value, const Range&) { before[name] = shown(value); });
  each_option(options, [&](const std::string& name, auto, auto, const auto& value, const Range&) {
    if (!given.contains(name) || is_free(name) || name == "data" || (options.only_sample && is_about_samples(name))) return;
    if (name == "steps" && saved.steps > 0 && options.steps >= saved.steps) return;
    if (name == "steps" && saved.steps > 0)
      fail<ValueError>("--steps: {} is fewer than the {} of the run in {} (a resumed run may only be longer)", options.steps, saved.steps,
                       folder);
    if (name == "steps")
      fail<ValueError>("--steps: the run in {} is measured by --seconds {} (leave --steps out, or train into another --out)", folder,
                       saved.seconds);
    if (shown(value) != before[name])
      fail<ValueError>("--{}: {} is not what the run in {} was begun with: {} (leave it out, or train into another --out)", name,
                       shown(value), folder, before[name]);
  });
  const Options asked = options;
  options = saved;
  options.resume = asked.resume;
  options.profile = asked.profile;
  options.only_sample = asked.only_sample;
  options.out = asked.out;
  options.threads = asked.threads;
  if (given.contains("data")) options.data = asked.data;
  if (given.contains("steps")) options.steps = asked.steps;
  if (!options.only_sample) return;
  if (given.contains("sample")) options.sample = asked.sample;
  if (given.contains("prompt")) options.prompt = asked.prompt;
  if (given.contains("temperature")) options.temperature = asked.temperature;
  if (given.contains("top-k")) options.top_k = asked.top_k;
  if (given.contains("seed")) options.seed = asked.seed;
}

/// Words of the command line that are no options.
[[noreturn]] void refuse(const std::string& word, const std::vector<std::string>& names) {
  if (!word.starts_with("-")) fail<ValueError>("{}: not expected here (options begin with --; --help lists them)", word);
  const std::string name = word.substr(0, word.find('='));
  const std::string meant = rw::train::nearest(name, names);
  fail<ValueError>("{}: no such option ({})", name, meant.empty() ? "--help lists them" : "did you mean " + meant + "?");
}

}  // namespace

bool parse(int argc, char** argv, Options& options) {
  CLI::App app("Trains a recurrent network to predict a text's next character, and lets it write.", "char_lm");
  app.set_help_flag();
  bool help = false;
  app.add_flag("--help,-h", help, "this list");
  app.allow_extras();
  app.option_defaults()->disable_flag_override();
  std::set<std::string> given;
  std::vector<std::string> names = {"--help", "--resume", "--profile"};
  each_option(options, [&](const char* name, const char* unit, const char* description, auto& value, const Range& range) {
    const std::string word = name;
    names.push_back("--" + word);
    app.add_option_function<std::string>(
           "--" + word,
           [&given, &value, word, range](const std::string& text) { given.insert(word), read_value(word, text, value, range); },
           fmt::format("{} [{}]", description,
                       word == "steps"  ? "by --seconds"
                       : word == "data" ? "the King James Bible"
                                        : shown(value)))
        ->type_name(unit)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  });
  app.add_flag("--resume", options.resume, "go on with the run in --out, to the last bit as if it had never stopped");
  app.add_flag("--profile", options.profile, "say at the end where the time went, by kind of operation");
  app.get_formatter()->column_width(34);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    fail<ValueError>("{} (--help lists the options)", error.what());
  }
  for (const std::string& word : app.remaining()) refuse(word, names);
  if (help) {
    fmt::print("{}", app.help());
    return false;
  }
  if (given.contains("steps") && given.contains("seconds"))
    fail<ValueError>("--steps and --seconds: a run has one length (leave one of them out)");
  options.only_sample = given.contains("steps") && options.steps == 0;
  if (options.only_sample && options.resume) fail<ValueError>("--steps 0 and --resume: nothing to go on with (leave one of them out)");
  if (options.resume)
    take_over(options.out, from_json(rw::train::saved_config(options.out), options.out + "/last").options, given, options);
  if (options.only_sample) {
    const std::string path = options.out + "/config.json";
    take_over(options.out, from_json(rw::io::read_file(path), path).options, given, options);
  }
  if (options.embedding == 0) options.embedding = std::min<Index>(options.hidden, 128);
  return true;
}

std::string to_json(const Config& config) {
  ordered_json json;
  each_option(config.options, [&](const std::string& name, auto, auto, const auto& value, const Range&) {
    if (!is_free(name)) json[name] = value;
  });
  json["text"] = {
      {"fingerprint", config.fingerprint}, {"symbols", config.symbols}, {"xz_bits", config.xz_bits}, {"vocabulary", config.vocabulary}};
  return json.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

Config from_json(const std::string& text, const std::string& path) {
  try {
    const ordered_json json = ordered_json::parse(text);
    Config config;
    each_option(config.options, [&](const std::string& name, auto, auto, auto& value, const Range&) {
      if (!is_free(name)) json.at(name).get_to(value);
    });
    const ordered_json& source = json.at("text");
    source.at("fingerprint").get_to(config.fingerprint);
    source.at("symbols").get_to(config.symbols);
    source.at("xz_bits").get_to(config.xz_bits);
    source.at("vocabulary").get_to(config.vocabulary);
    return config;
  } catch (const nlohmann::json::exception& error) {
    fail<rw::IoError>("{}: not the configuration of a char_lm run: {}", path, error.what());
  }
}
