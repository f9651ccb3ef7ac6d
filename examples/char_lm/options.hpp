// The command line of char_lm.
#pragma once

#include <rewind/core/dtype.hpp>
#include <string>

struct Options {
  std::string data;           ///< empty: the King James Bible that ./dev setup takes out
  std::string cell = "lstm";  ///< rnn, relu-rnn, lstm, gru or gru-before
  rw::Index layers = 2, hidden = 256;
  rw::Index embedding = 0;  ///< 0: min(hidden, 128)
  rw::Index batch = 32, time = 64;
  double rate = 4e-3, clip = 1, dropout = 0;
  rw::Index steps = 0;  ///< 0: the run is measured by `seconds`
  double seconds = 100;
  rw::Index seed = 1;
  rw::Index threads = 0;  ///< 0: all cores
  double valid = 0.1;
  rw::Index every = 200;
  std::string out = "runs/char_lm";
  bool resume = false, profile = false;
  rw::Index sample = 500;
  std::string prompt = "\n";
  double temperature = 0.8;
  rw::Index top_k = 0;

  bool only_sample = false;  ///< --steps 0: nothing is trained, a finished run writes
};

/// Reads the command line over `options`. With --resume, and with --steps 0, options that are not given are those of the run in --out.
/// Gives false if --help was all that was asked. Throws rw::ValueError for an option that does not exist, a value that is none or out of
/// range, and one that the run in --out does not allow; rw::IoError if there is no such run.
bool parse(int argc, char** argv, Options& options);

/// What stands in config.json: the options that shape the run, and of the text what tells it from another.
struct Config {
  Options options;
  std::string fingerprint, vocabulary;  ///< of the text; all symbols as UTF-8
  rw::Index symbols = 0;                ///< of the text
  double xz_bits = 0;                   ///< bits a symbol of `xz -9`; 0: there is no xz
};
std::string to_json(const Config& config);
/// Throws rw::IoError naming `path`.
Config from_json(const std::string& json, const std::string& path);
