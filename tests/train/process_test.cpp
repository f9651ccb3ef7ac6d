#include <signal.h>
#include <rewind/train/interrupt.hpp>
#include <rewind/train/process.hpp>

#include <fstream>

#include "../support.hpp"

using namespace rw::train;

TEST_CASE("process: status, counted output, first words of the errors") {
  const ProcessResult result = run_process({"sh", "-c", "printf '%100000s' x; echo broken >&2; exit 3"});
  CHECK(result.status == 3);
  CHECK(result.output_bytes == 100000);
  CHECK(result.first_words == "broken\n");
  CHECK(run_process({"sh", "-c", "yes | head -c 100000 >&2"}).first_words.size() == 500);
  CHECK(run_process({"rewind-no-such-program"}).status == 127);
  CHECK(run_process({"sh", "-c", "kill -9 $$"}).status == 128 + 9);
  CHECK(run_process({"sh", "-c", "cat"}).output_bytes == 0);
}

TEST_CASE("xz_bytes: what a repetitive file packs to, and -1 without a file") {
  rw::test::Scratch scratch;
  std::ofstream(scratch.file("a b'c")) << std::string(100000, 'x');
  const rw::Index bytes = xz_bytes(scratch.file("a b'c"));
  if (run_process({"xz", "--version"}).status == 127) {
    MESSAGE("not run: there is no xz");
    CHECK(bytes == -1);
  } else {
    CHECK(bytes > 32);
    CHECK(bytes < 300);
  }
  CHECK(xz_bytes(scratch.file("none")) == -1);
}

TEST_CASE("interrupt: the first signal is noted, and afterwards signals do what they did before") {
  static volatile sig_atomic_t seen = 0;
  auto* before = signal(SIGINT, [](int) { seen = 1; });
  {
    Interrupt guard;
    CHECK_FALSE(Interrupt::requested());
    raise(SIGINT);
    CHECK(Interrupt::requested());
    CHECK(seen == 0);
  }
  raise(SIGINT);
  CHECK(seen == 1);
  {
    Interrupt guard;
    CHECK_FALSE(Interrupt::requested());
    Interrupt inner;
    raise(SIGTERM);
    CHECK(Interrupt::requested());
  }
  signal(SIGINT, before);
}
