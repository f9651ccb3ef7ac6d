// Programs whose limits are those of the process: a small stack.
#include <doctest/doctest.h>
#include <stdio.h>
#include <sys/wait.h>

#include <cstdlib>
#include <string>

TEST_CASE("tape: a hundred thousand steps (in long runs, a million) are recorded, differentiated and freed on a stack of 256 KB") {
#ifdef __SANITIZE_ADDRESS__
  const char* steps = "10000";  // instrumented memory is several times as large
#else
  const char* steps = std::getenv("REWIND_LONG") ? "1000000" : "100000";
#endif
  FILE* pipe = popen((std::string("ulimit -s 256; " REWIND_MILLION_STEPS " ") + steps + " 2>&1 < /dev/null").c_str(), "r");
  REQUIRE(pipe != nullptr);
  std::string output;
  char buffer[4096];
  while (auto size = fread(buffer, 1, sizeof buffer, pipe)) output.append(buffer, size);
  const int status = pclose(pipe);
  CHECK_MESSAGE((WIFEXITED(status) && WEXITSTATUS(status) == 0), output);
}
