#pragma once
#include <fcntl.h>
#include <unistd.h>

#include "layers/base/unique_fd.h"

namespace surcoat {

/// Both ends of a new pipe, close-on-exec.
struct Pipe {
    UniqueFd read;
    UniqueFd write;
    Pipe() {
        int fds[2];
        if (::pipe2(fds, O_CLOEXEC) != 0) throw_errno("create a pipe");
        read = UniqueFd(fds[0]);
        write = UniqueFd(fds[1]);
    }
};

}  // namespace surcoat
