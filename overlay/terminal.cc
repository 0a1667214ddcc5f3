#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <string>

#include "overlay/sandbox.h"
#include "overlay/sandbox_plan.h"

namespace surcoat::overlay {
namespace {

std::atomic<int> g_resized{-1};

// A full pipe says "resized" already.
void note_resize(int) {
    const int saved = errno;
    const int fd = g_resized.load();
    if (fd >= 0) { [[maybe_unused]] const ssize_t n = ::write(fd, "", 1); }
    errno = saved;
}

/// Keys go through as they are while this lives.
class RawMode {
  public:
    explicit RawMode(int fd) : fd_(fd) {
        if (::tcgetattr(fd, &saved_) != 0) {
            fd_ = -1;
            return;
        }
        termios raw = saved_;
        ::cfmakeraw(&raw);
        ::tcsetattr(fd, TCSADRAIN, &raw);
    }
    RawMode(const RawMode&) = delete;
    RawMode& operator=(const RawMode&) = delete;
    ~RawMode() {
        if (fd_ >= 0) ::tcsetattr(fd_, TCSADRAIN, &saved_);
    }

  private:
    int fd_;
    termios saved_{};
};

/// Tells of changed window sizes through a descriptor.
class ResizeWatch {
  public:
    ResizeWatch() {
        int fds[2];
        if (::pipe2(fds, O_CLOEXEC | O_NONBLOCK) != 0) throw_errno("create a pipe");
        read_ = UniqueFd(fds[0]);
        write_ = UniqueFd(fds[1]);
        g_resized.store(write_.get());
        struct sigaction action {};
        action.sa_handler = note_resize;
        action.sa_flags = SA_RESTART;
        ::sigaction(SIGWINCH, &action, &saved_);
    }
    ResizeWatch(const ResizeWatch&) = delete;
    ResizeWatch& operator=(const ResizeWatch&) = delete;
    ~ResizeWatch() {
        ::sigaction(SIGWINCH, &saved_, nullptr);
        g_resized.store(-1);
    }
    int fd() const { return read_.get(); }
    void drain() const {
        char buffer[64];
        while (::read(read_.get(), buffer, sizeof buffer) > 0) {}
    }

  private:
    UniqueFd read_;
    UniqueFd write_;
    struct sigaction saved_ {};
};

bool write_some(int fd, const char* data, std::size_t size) {
    while (size > 0) {
        const ssize_t n = ::write(fd, data, size);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) {
            pollfd wait{fd, POLLOUT, 0};
            ::poll(&wait, 1, -1);
            continue;
        }
        if (n < 0) return false;
        data += n;
        size -= static_cast<std::size_t>(n);
    }
    return true;
}

}  // namespace

void relay_terminal(UniqueFd master, int in, int out) {
    const bool ours_is_terminal = ::isatty(in) == 1;
    if (ours_is_terminal) copy_window_size(in, master.get());
    const RawMode raw(ours_is_terminal ? in : -1);
    const ResizeWatch resized;
    bool reading = in >= 0;
    char buffer[16384];
    for (;;) {
        pollfd events[3] = {
            {master.get(), POLLIN, 0}, {reading ? in : -1, POLLIN, 0}, {resized.fd(), POLLIN, 0}};
        if (::poll(events, 3, -1) < 0) {
            if (errno == EINTR) continue;
            throw_errno("wait for the terminal");
        }
        if (events[2].revents != 0) {
            resized.drain();
            if (ours_is_terminal) copy_window_size(in, master.get());
        }
        if (events[0].revents != 0) {
            const ssize_t n = ::read(master.get(), buffer, sizeof buffer);
            if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
            // EIO: nobody has the other side open any more.
            if (n <= 0 || !write_some(out, buffer, static_cast<std::size_t>(n))) return;
        }
        if (reading && events[1].revents != 0) {
            const ssize_t n = ::read(in, buffer, sizeof buffer);
            if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
            if (n > 0) {
                if (!write_some(master.get(), buffer, static_cast<std::size_t>(n))) return;
            } else {
                // The end of our input, said as a terminal says it.
                reading = false;
                termios settings{};
                char end = 4;
                if (::tcgetattr(master.get(), &settings) == 0) end = static_cast<char>(settings.c_cc[VEOF]);
                write_some(master.get(), &end, 1);
            }
        }
    }
}

}  // namespace surcoat::overlay
