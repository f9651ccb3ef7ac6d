// The program char_lm, run as a person runs it.
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include "../support.hpp"

using rw::test::Scratch;

namespace {

struct Outcome {
  int status;
  std::string output;
};

/// Runs a shell command; both outputs together.
Outcome shell(const std::string& command) {
  FILE* pipe = ::popen(("{ " + command + "; } 2>&1 < /dev/null").c_str(), "r");
  REQUIRE(pipe != nullptr);
  std::string output;
  char buffer[4096];
  while (std::size_t got = std::fread(buffer, 1, sizeof buffer, pipe)) output.append(buffer, got);
  const int status = ::pclose(pipe);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, output};
}

Outcome char_lm(const std::string& arguments) { return shell(REWIND_CHAR_LM " " + arguments); }

std::string content(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

std::string timeless(const std::string& path) {
  std::istringstream lines(content(path));
  std::string result;
  for (std::string line; std::getline(lines, line);) {
    for (int i = 0; i < 2; ++i) line.resize(line.find_last_of(','));
    result += line + '\n';
  }
  return result;
}

/// A folder with a text in it, and the options of a small run on that text.
struct Ground {
  Scratch scratch;
  std::string text = scratch.file("text.txt");
  Ground() {
    std::ofstream file(text);
    for (int i = 0; i < 500; ++i) file << (i % 3 == 0 ? "the cat " : i % 7 == 1 ? "sat on " : "a mat.\n");
  }
  std::string run(const std::string& out, const std::string& more) const {
    return "--data " + text + " --out " + scratch.file(out) + " --hidden 16 --batch 4 --time 8 " + more;
  }
};

/// The error of a command line, which must not succeed.
std::string refusal(const std::string& arguments) {
  const Outcome outcome = char_lm(arguments);
  CHECK(outcome.status == 1);
  return outcome.output;
}

}  // namespace

TEST_CASE("char_lm: --help shows every option with its unit and default") {
  const Outcome help = char_lm("--help");
  CHECK(help.status == 0);
  for (const char* option : {"--data FILE ",
                             "--cell KIND ",
                             " [lstm]\n",
                             "--layers N ",
                             " [2]\n",
                             "--hidden UNITS ",
                             " [256]\n",
                             "--embedding UNITS ",
                             "--batch COLUMNS ",
                             " [32]\n",
                             "--time SYMBOLS ",
                             " [64]\n",
                             "--rate RATE ",
                             " [0.004]\n",
                             "--clip NORM ",
                             "--dropout SHARE ",
                             "--steps N ",
                             "--seconds S ",
                             " [100]\n",
                             "--seed N ",
                             "--threads N ",
                             "--valid SHARE ",
                             " [0.1]\n",
                             "--every STEPS ",
                             " [200]\n",
                             "--out FOLDER ",
                             " [runs/char_lm]\n",
                             "--resume ",
                             "--sample SYMBOLS ",
                             " [500]\n",
                             "--prompt TEXT ",
                             " [a line's end]\n",
                             "--temperature X ",
                             " [0.8]\n",
                             "--top-k K ",
                             "--profile ",
                             "--help "}) {
    CHECK_MESSAGE(help.output.find(option) != std::string::npos, std::string(option));
  }
}

TEST_CASE("char_lm: a misspelt option is answered with the nearest") {
  CHECK(refusal("--hiden 64") == "char_lm: --hiden: no such option (did you mean --hidden?)\n");
  CHECK(refusal("--hiden=64") == "char_lm: --hiden: no such option (did you mean --hidden?)\n");
  CHECK(refusal("--resum") == "char_lm: --resum: no such option (did you mean --resume?)\n");
  CHECK(refusal("--topk 5") == "char_lm: --topk: no such option (did you mean --top-k?)\n");
  CHECK(refusal("--frobnicate") == "char_lm: --frobnicate: no such option (--help lists them)\n");
  CHECK(refusal("--hidden 16 corpus.txt") == "char_lm: corpus.txt: not expected here (options begin with --; --help lists them)\n");
  CHECK(refusal("--cell lstn") == "char_lm: --cell: no such kind: lstn (did you mean lstm?)\n");
  CHECK(refusal("--cell transformer") == "char_lm: --cell: no such kind: transformer (there are rnn, relu-rnn, lstm, gru, gru-before)\n");
}

TEST_CASE("char_lm: values that are none, negative or absurd") {
  CHECK(refusal("--hidden abc") == "char_lm: --hidden: not a whole number: abc\n");
  CHECK(refusal("--hidden 12.5") == "char_lm: --hidden: not a whole number: 12.5\n");
  CHECK(refusal("--hidden -4") == "char_lm: --hidden: must be from 1 to 65536: got -4\n");
  CHECK(refusal("--hidden 0") == "char_lm: --hidden: must be from 1 to 65536: got 0\n");
  CHECK(refusal("--layers 1000000") == "char_lm: --layers: must be from 1 to 64: got 1000000\n");
  CHECK(refusal("--batch 99999999999999999999") == "char_lm: --batch: must be from 1 to 65536: got 99999999999999999999\n");
  CHECK(refusal("--time 0") == "char_lm: --time: must be from 1 to 1000000: got 0\n");
  CHECK(refusal("--rate -1e-3") == "char_lm: --rate: must be between 0 and 1e+38: got -1e-3\n");
  CHECK(refusal("--rate nan") == "char_lm: --rate: must be between 0 and 1e+38: got nan\n");
  CHECK(refusal("--rate fast") == "char_lm: --rate: not a number: fast\n");
  CHECK(refusal("--clip -1") == "char_lm: --clip: must be from 0 to 1e+38: got -1\n");
  CHECK(refusal("--dropout 1") == "char_lm: --dropout: must be from 0 to 0.99: got 1\n");
  CHECK(refusal("--steps -1") == "char_lm: --steps: must be from 0 to 1000000000000: got -1\n");
  CHECK(refusal("--seconds 0") == "char_lm: --seconds: must be between 0 and 1000000000: got 0\n");
  CHECK(refusal("--threads 5000") == "char_lm: --threads: must be from 0 to 1024: got 5000\n");
  CHECK(refusal("--valid 1") == "char_lm: --valid: must be between 0 and 1: got 1\n");
  CHECK(refusal("--every 0") == "char_lm: --every: must be from 1 to 1000000000000: got 0\n");
  CHECK(refusal("--sample -1") == "char_lm: --sample: must be from 0 to 1000000000: got -1\n");
  CHECK(refusal("--temperature -0.5") == "char_lm: --temperature: must be from 0 to 1000000: got -0.5\n");
  CHECK(refusal("--top-k -2") == "char_lm: --top-k: must be from 0 to 1000000000: got -2\n");
  CHECK(refusal("--out ''") == "char_lm: --out: empty (give a path)\n");
  CHECK(refusal("--steps 5 --seconds 5") == "char_lm: --steps and --seconds: a run has one length (leave one of them out)\n");
  CHECK(refusal("--hidden") == "char_lm: --hidden: 1 required UNITS missing (--help lists the options)\n");
}

TEST_CASE("char_lm: texts that are none") {
  Ground ground;
  const std::string path = ground.scratch.file("bad.txt");
  auto error = [&](const std::string& bytes, const std::string& more = "") {
    std::ofstream(path, std::ios::binary) << bytes;
    return refusal("--steps 1 --data " + path + " --out " + ground.scratch.file("out") + " " + more);
  };
  CHECK(error("") == "char_lm: " + path + ": the text is empty (give one of some thousand symbols)\n");
  CHECK(error(std::string(1000, 'a')) ==
        "char_lm: " + path +
            ": one symbol only, 'a' (U+0061), 1000 times: there is nothing to predict (give a text of two or more different symbols)\n");
  CHECK(error("\xff\xfe") ==
        "char_lm: " + path + ": not UTF-8: byte 0xff at offset 0 (convert the text, for example with iconv -t UTF-8)\n");
  CHECK(error("ab\n", "--valid 0.1") ==
        "char_lm: " + path +
            ": the text is too short: of 3 symbols, a held-out share of 0.1 leaves 2 to train on and 1 to validate (2 are "
            "needed in each)\n");
  CHECK(error("an example of a short text\n") ==
        "char_lm: stream: the text is shorter than a batch: 24 symbols for 32 columns of 64 steps (take fewer columns or steps)\n");
  CHECK(error("an example of a text\n", "--prompt Zebra") ==
        "char_lm: --prompt: symbol 'Z' (U+005A) at place 0 is not in the vocabulary of 12 symbols (use symbols of the training text)\n");
  CHECK(::access(ground.scratch.file("out/last").c_str(), F_OK) != 0);
  CHECK(refusal("--data " + ground.scratch.file("none")).find("No such file or directory") != std::string::npos);
}

TEST_CASE("char_lm: a folder that cannot be written, a model that cannot fit") {
  Ground ground;
  CHECK(refusal("--data " + ground.text + " --hidden 8 --batch 2 --time 4 --steps 1 --out /proc/none/run")
            .find("char_lm: train: /proc/none/run: no files can be made there: No such file or directory (choose another folder)\n") !=
        std::string::npos);
  CHECK(refusal("--data " + ground.text + " --hidden 65536 --layers 64 --batch 2 --time 4 --steps 1 --out " + ground.scratch.file("big"))
            .find(" GB of memory, this machine has ") != std::string::npos);
}

TEST_CASE("char_lm: a full disk is an error that leaves earlier files whole") {
  Ground ground;
  CHECK(char_lm(ground.run("a", "--steps 4 --every 2 --sample 0")).status == 0);
  const std::string model = content(ground.scratch.file("a/model.safetensors")), last = content(ground.scratch.file("a/last"));
  const Outcome full = shell("ulimit -f 4; trap '' XFSZ; " REWIND_CHAR_LM " " + ground.run("a", "--steps 6 --every 2 --sample 0 --seed 2"));
  CHECK(full.status == 1);
  CHECK(full.output.find("char_lm: ") != std::string::npos);
  CHECK(full.output.find("File too large") != std::string::npos);
  CHECK(content(ground.scratch.file("a/model.safetensors")) == model);
  CHECK(content(ground.scratch.file("a/last")) == last);
}

TEST_CASE("char_lm: a run leaves its files, a table, a sample and one final line") {
  Ground ground;
  const Outcome run = char_lm(ground.run("a", "--steps 40 --every 20 --sample 30 --prompt 'the c'"));
  CHECK(run.status == 0);
  for (const char* file : {"metrics.csv", "config.json", "model.safetensors", "last"})
    CHECK_MESSAGE(::access(ground.scratch.file(std::string("a/") + file).c_str(), R_OK) == 0, std::string(file));
  for (const char* words : {"embed.weight", "rnn.1.wh", "bits/char", "\nthe c", "\nfinal step=40 tokens=1280 train_nats="})
    CHECK_MESSAGE(run.output.find(words) != std::string::npos, std::string(words));
  CHECK(run.output.find("bits_per_char=") > run.output.find("valid_nats="));
  CHECK(run.output.find('\r') == std::string::npos);

  const Outcome sample = char_lm("--steps 0 --sample 12 --prompt the --temperature 0 --out " + ground.scratch.file("a"));
  CHECK(sample.status == 0);
  CHECK(sample.output.size() == 3 + 12 + 1);
  CHECK(sample.output.starts_with("the"));
  CHECK(refusal("--steps 0 --out " + ground.scratch.file("nothing")).find("nothing/config.json") != std::string::npos);
  CHECK(refusal("--steps 0 --hidden 99 --out " + ground.scratch.file("a")) ==
        "char_lm: --hidden: 99 is not what the run in " + ground.scratch.file("a") +
            " was begun with: 16 (leave it out, or train into another --out)\n");
}

TEST_CASE("char_lm: --profile says where the time went, and changes no bit") {
  Ground ground;
  const std::string shape = "--steps 10 --dropout 0.1 --sample 5 ";
  const Outcome plain = char_lm(ground.run("plain", shape)), profiled = char_lm(ground.run("profiled", shape + "--profile"));
  CHECK(plain.status == 0);
  CHECK(profiled.status == 0);
  CHECK(plain.output.find("plans ran") == std::string::npos);
  CHECK(profiled.output.find("\nplans ran ") > profiled.output.find("\nfinal step=10 "));
  CHECK_MESSAGE(profiled.output.find("\nkind ", profiled.output.find("\nplans ran ")) != std::string::npos, profiled.output);
  CHECK(content(ground.scratch.file("plain/model.safetensors")) == content(ground.scratch.file("profiled/model.safetensors")));
  CHECK(content(ground.scratch.file("plain/config.json")) == content(ground.scratch.file("profiled/config.json")));
  const Outcome asked = shell("REWIND_PROFILE=1 " REWIND_CHAR_LM " --steps 0 --sample 5 --out " + ground.scratch.file("plain"));
  CHECK_MESSAGE(asked.output.find("\nplans ran ") != std::string::npos, asked.output);
}

TEST_CASE("char_lm: every cell trains") {
  Ground ground;
  for (const char* cell : {"rnn", "relu-rnn", "lstm", "gru", "gru-before"}) {
    const Outcome run = char_lm(ground.run(cell, std::string("--steps 3 --sample 5 --dropout 0.1 --cell ") + cell));
    CHECK_MESSAGE(run.status == 0, run.output);
    CHECK_MESSAGE(run.output.find("\nfinal step=3 ") != std::string::npos, run.output);
  }
}

TEST_CASE("char_lm: the same bytes for one thread and for two") {
  Ground ground;
  CHECK(char_lm(ground.run("one", "--steps 40 --dropout 0.1 --sample 0 --threads 1")).status == 0);
  CHECK(char_lm(ground.run("two", "--steps 40 --dropout 0.1 --sample 0 --threads 2")).status == 0);
  CHECK(content(ground.scratch.file("one/model.safetensors")) == content(ground.scratch.file("two/model.safetensors")));
  CHECK(content(ground.scratch.file("one/config.json")) == content(ground.scratch.file("two/config.json")));
  CHECK(timeless(ground.scratch.file("one/metrics.csv")) == timeless(ground.scratch.file("two/metrics.csv")));
}

TEST_CASE("char_lm: an interrupted run says how to go on, and goes on to the last bit") {
  Ground ground;
  const std::string shape = "--steps 1500 --every 200 --dropout 0.1 --sample 20 ";
  const Outcome whole = char_lm(ground.run("whole", shape));
  CHECK(whole.status == 0);
  const std::string folder = ground.scratch.file("parts");
  // Interrupted as soon as the first evaluation is written, however fast the machine is.
  const Outcome stopped = shell(REWIND_CHAR_LM " " + ground.run("parts", shape) + " & for i in $(seq 6000); do [ $(cat " + folder +
                                "/metrics.csv 2>/dev/null | wc -l) -lt 2 ] || break; sleep 0.005; done; kill -INT $!; wait $!");
  CHECK(stopped.status == 0);
  if (stopped.output.find("\nfinal ") != std::string::npos)
    MESSAGE("not run: it ended before it was interrupted");
  else
    CHECK(stopped.output.find("; all is saved. To go on: char_lm --resume --out " + folder + "\n") != std::string::npos);
  const Outcome resumed = char_lm("--resume --threads 1 --out " + folder);
  CHECK_MESSAGE(resumed.status == 0, resumed.output);
  CHECK(timeless(folder + "/metrics.csv") == timeless(ground.scratch.file("whole/metrics.csv")));
  CHECK(content(folder + "/model.safetensors") == content(ground.scratch.file("whole/model.safetensors")));
}

TEST_CASE("char_lm: --resume refuses what would be another run") {
  Ground ground;
  const std::string folder = ground.scratch.file("a");
  CHECK(char_lm(ground.run("a", "--steps 20 --sample 0")).status == 0);
  const std::string run = "--resume --out " + folder;
  CHECK(refusal(run + " --hidden 32") ==
        "char_lm: --hidden: 32 is not what the run in " + folder + " was begun with: 16 (leave it out, or train into another --out)\n");
  CHECK(refusal(run + " --rate 1e-3") ==
        "char_lm: --rate: 0.001 is not what the run in " + folder + " was begun with: 0.004 (leave it out, or train into another --out)\n");
  CHECK(refusal(run + " --cell gru") ==
        "char_lm: --cell: gru is not what the run in " + folder + " was begun with: lstm (leave it out, or train into another --out)\n");
  CHECK(refusal(run + " --steps 10") ==
        "char_lm: --steps: 10 is fewer than the 20 of the run in " + folder + " (a resumed run may only be longer)\n");
  std::ofstream(ground.scratch.file("other.txt")) << content(ground.text) << "more";
  CHECK(refusal(run + " --data " + ground.scratch.file("other.txt")) ==
        "char_lm: --data: " + ground.scratch.file("other.txt") + " is not the text that the run in " + folder +
            " was begun with (give the same, or train into another --out)\n");
  CHECK(refusal("--resume --out " + ground.scratch.file("none")).find("/none/last") != std::string::npos);
  const Outcome longer = char_lm(run + " --steps 30 --threads 2 --hidden 16 --data " + ground.text);
  CHECK_MESSAGE(longer.status == 0, longer.output);
  CHECK(longer.output.find("\nfinal step=30 ") != std::string::npos);
  std::ofstream(folder + "/last") << "damaged";
  CHECK(refusal(run).find(folder + "/last") != std::string::npos);
}

TEST_CASE("char_lm: a loss that is no number ends the run, and leaves its files whole") {
  Ground ground;
  CHECK(char_lm(ground.run("a", "--steps 4 --sample 0")).status == 0);
  const std::string model = content(ground.scratch.file("a/model.safetensors")), last = content(ground.scratch.file("a/last"));
  const std::string error = refusal(ground.run("a", "--steps 50 --rate 9e37 --clip 0 --sample 0"));
  CHECK_MESSAGE(error.find("char_lm: ") != std::string::npos, error);
  CHECK_MESSAGE((error.find("the loss is") != std::string::npos || error.find("not finite") != std::string::npos), error);
  CHECK(content(ground.scratch.file("a/model.safetensors")) == model);
  CHECK(content(ground.scratch.file("a/last")) == last);
}
