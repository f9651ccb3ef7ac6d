#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>
#include <rewind/core/format.hpp>
#include <rewind/train/process.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>

extern char** environ;

namespace rw::train {

namespace {

struct Pipe {
  int read = -1, write = -1;
  Pipe() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) fail<IoError>("process: no pipe: {}", std::strerror(errno));
    read = ends[0];
    write = ends[1];
  }
  Pipe(const Pipe&) = delete;
  ~Pipe() {
    ::close(read);
    if (write >= 0) ::close(write);
  }
  void close_write() {
    ::close(write);
    write = -1;
  }
};

}  // namespace

ProcessResult run_process(const std::vector<std::string>& command) {
  ProcessResult result;
  Pipe out, error;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, out.write, 1);
  posix_spawn_file_actions_adddup2(&actions, error.write, 2);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);

  std::vector<char*> words;
  for (const auto& word : command) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  pid_t child = 0;
  const int spawned = posix_spawnp(&child, words[0], &actions, &attributes, words.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (spawned == ENOENT || spawned == EACCES) {
    result.status = 127;
    return result;
  }
  if (spawned != 0) fail<IoError>("process: {} cannot be started: {}", command[0], std::strerror(spawned));

  out.close_write();
  error.close_write();
  pollfd ends[] = {{out.read, POLLIN, 0}, {error.read, POLLIN, 0}};
  char buffer[4096];
  while (ends[0].fd >= 0 || ends[1].fd >= 0) {
    if (::poll(ends, 2, -1) < 0 && errno != EINTR) break;
    for (int i = 0; i < 2; ++i) {
      if (ends[i].fd < 0 || ends[i].revents == 0) continue;
      const ssize_t got = ::read(ends[i].fd, buffer, sizeof buffer);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) ends[i].fd = -1;
      if (got > 0 && i == 0) result.output_bytes += got;
      if (got > 0 && i == 1) result.first_words.append(buffer, std::min(static_cast<std::size_t>(got), 500 - result.first_words.size()));
    }
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  result.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

Index xz_bytes(const std::string& path) {
  const ProcessResult result = run_process({"xz", "-9", "--stdout", "--", path});
  return result.status == 0 ? result.output_bytes : -1;
}

}  // namespace rw::train
