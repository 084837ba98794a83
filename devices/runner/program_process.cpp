#include "program_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "file.h"
#include "machine.h"

namespace runner {
namespace {

constexpr int kNotStarted = 127;
constexpr int kMostDescriptors = 1024;

struct Pipe {
  int read_end = -1;
  int write_end = -1;
};

Pipe make_pipe(const std::string& program) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw FileError(program + ": can't make a pipe (" + std::strerror(errno) + ").");
  return {ends[0], ends[1]};
}

void close_both(const Pipe& pipe) {
  ::close(pipe.read_end);
  ::close(pipe.write_end);
}

void on_child(int) {}

// The following runs in forks of a process with threads: async-signal-safe calls only.

void onto_null(int fd) {
  const int null = ::open("/dev/null", O_RDWR);
  if (null >= 0 && null != fd) {
    ::dup2(null, fd);
    ::close(null);
  }
}

[[noreturn]] void become(char* const* argv, const Pipe& output, const Pipe& errors, pid_t watcher,
                         const sigset_t& mask) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != watcher) ::_exit(kNotStarted);  // it died before the prctl
  for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGPIPE, SIGCHLD}) ::signal(number, SIG_DFL);
  ::sigprocmask(SIG_SETMASK, &mask, nullptr);
  onto_null(STDIN_FILENO);
  ::dup2(output.write_end, STDOUT_FILENO);
  ::dup2(errors.write_end, STDERR_FILENO);
  ::execvp(argv[0], argv);
  ::_exit(kNotStarted);
}

// Waits until the program has ended (without reaping it, so that its group id is not reused) or the runner releases it.
void await(pid_t program, int life, const sigset_t& mask) {
  pollfd hang_up{life, POLLIN, 0};
  for (;;) {
    siginfo_t ended{};
    if (::waitid(P_PID, static_cast<id_t>(program), &ended, WEXITED | WNOHANG | WNOWAIT) != 0) return;
    if (ended.si_pid == program) return;
    if (::ppoll(&hang_up, 1, nullptr, &mask) > 0) return;
  }
}

[[noreturn]] void watch(char* const* argv, const Pipe& output, const Pipe& errors, const Pipe& life) {
  undo_pinning();  // the job's cpus are for the steps
  ::setsid();      // what ends the runner's group must not end the watcher before the program
  for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGPIPE}) ::signal(number, SIG_IGN);
  ::signal(SIGCHLD, on_child);
  sigset_t child;
  sigset_t mask;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  ::sigprocmask(SIG_BLOCK, &child, &mask);
  const pid_t self = ::getpid();
  const pid_t program = ::fork();
  if (program == 0) become(argv, output, errors, self, mask);
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) onto_null(fd);
  for (int fd = STDERR_FILENO + 1; fd < kMostDescriptors; ++fd) {
    if (fd != life.read_end) ::close(fd);
  }
  if (program < 0) ::_exit(kNotStarted);
  ::setpgid(program, program);
  await(program, life.read_end, mask);
  ::kill(-program, SIGKILL);
  int status = 0;
  ::waitpid(program, &status, 0);
  ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

int64_t as_ns(const timeval& time) { return int64_t{time.tv_sec} * 1'000'000'000 + int64_t{time.tv_usec} * 1000; }

}  // namespace

ProgramProcess::ProgramProcess(const std::vector<std::string>& command) {
  const std::string& program = command[0];
  if (program.find('/') != std::string::npos && ::access(program.c_str(), X_OK) != 0) {
    throw FileError(program + ": " + std::strerror(errno) + ".");
  }
  std::vector<char*> argv;
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  const Pipe output = make_pipe(program);
  const Pipe errors = make_pipe(program);
  const Pipe life = make_pipe(program);
  watcher_ = ::fork();
  if (watcher_ == 0) watch(argv.data(), output, errors, life);
  const int why = errno;
  ::close(output.write_end);
  ::close(errors.write_end);
  if (watcher_ < 0) {
    ::close(output.read_end);
    ::close(errors.read_end);
    close_both(life);
    throw FileError(program + ": it can't be started (" + std::strerror(why) + ").");
  }
  output_ = output.read_end;
  errors_ = errors.read_end;
  ::fcntl(errors_, F_SETFL, O_NONBLOCK);  // its last output is read only as far as it is available
  life_ = life.read_end;
  hold_ = life.write_end;
}

ProgramProcess::~ProgramProcess() {
  release();
  if (watcher_ > 0) wait();
  for (const int fd : {output_, errors_, life_}) ::close(fd);
}

void ProgramProcess::release() {
  const int hold = hold_.exchange(-1);
  if (hold >= 0) ::close(hold);
}

ProgramProcess::Ending ProgramProcess::wait() {
  int status = 0;
  rusage usage{};
  pid_t got;
  do {
    got = ::wait4(watcher_, &status, 0, &usage);
  } while (got < 0 && errno == EINTR);
  watcher_ = -1;
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
          as_ns(usage.ru_utime) + as_ns(usage.ru_stime)};
}

}  // namespace runner
