#include "layers/store/byte_locks.h"

#include <fcntl.h>

#include <cerrno>
#include <cstring>

#include "layers/base/file.h"
#include "layers/base/hash.h"

namespace surcoat {
namespace {

bool set(int fd, short type, int command, std::string_view name) noexcept {
    const Sha256Bytes hash = sha256(as_bytes(name));
    std::uint64_t position = 0;
    std::memcpy(&position, hash.data(), sizeof position);
    struct flock lock {};
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    lock.l_start = static_cast<off_t>(position >> 2);  // far from the largest offset
    lock.l_len = 1;
    while (::fcntl(fd, command, &lock) != 0) {
        if (errno != EINTR) return false;
    }
    return true;
}

}  // namespace

ByteLocks::ByteLocks(const std::filesystem::path& file) : fd_(open_file(file, O_RDWR | O_CREAT, 0644)) {}

void ByteLocks::acquire(std::string_view name) {
    if (!set(fd_.get(), F_WRLCK, F_OFD_SETLKW, name)) throw_errno("lock a part of the store");
}

bool ByteLocks::try_acquire(std::string_view name) {
    if (set(fd_.get(), F_WRLCK, F_OFD_SETLK, name)) return true;
    if (errno != EAGAIN && errno != EACCES) throw_errno("lock a part of the store");
    return false;
}

void ByteLocks::release(std::string_view name) noexcept {
    set(fd_.get(), F_UNLCK, F_OFD_SETLK, name);
}

}  // namespace surcoat
