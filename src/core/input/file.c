/* SPDX-License-Identifier: MIT */
/* Opening a file for a run, and what is said of it. */

#include "core/input/file.h"

#include "base/stop.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BLOCK = 1 << 18 };

static bool
fail_reading(const struct lm_input_file *self, const char *why,
             struct lm_err *err)
{
    return lm_err_set(err, LM_ERR_USAGE, "cannot read %s: %s", self->name, why);
}

/* Waits until there is something to read: a pipe may be silent for long. */
static bool
wait_for(const struct lm_input_file *self, int fd, struct lm_err *err)
{
    struct pollfd fds[2] = {{fd, POLLIN, 0}, {lm_stop_fd(), POLLIN, 0}};

    while (lm_stop_level() == 0) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            return fail_reading(self, strerror(errno), err);
        if (fds[0].revents != 0)
            return true;
        if (fds[1].revents != 0)
            lm_stop_drain();
    }
    return lm_err_set(err, LM_ERR_INTERRUPT, "stopped while reading %s",
                      self->name);
}

static bool
write_all(const struct lm_input_file *self, const char *bytes, size_t len,
          struct lm_err *err)
{
    while (len > 0) {
        ssize_t done = write(self->fd, bytes, len);

        if (done < 0 && errno != EINTR) {
            lm_err_set(err, LM_ERR_USAGE,
                       "cannot copy %s to a temporary file: %s", self->name,
                       strerror(errno));
            return lm_err_hint(err, "TMPDIR names the folder for it.");
        }
        if (done > 0) {
            bytes += done;
            len -= (size_t)done;
        }
    }
    return true;
}

/* Reads fd to its end for size and hash. If it is not self's own, copies it
 * there. */
static bool
take_all(struct lm_input_file *self, int fd, struct lm_err *err)
{
    char *block = lm_alloc(BLOCK);
    SHA256_CTX hash;
    bool ok = true;
    ssize_t got = 1;

    SHA256Init(&hash);
    while (ok && got != 0) {
        ok = wait_for(self, fd, err);
        got = ok ? read(fd, block, BLOCK) : 0;
        if (got < 0 && errno != EINTR && errno != EAGAIN)
            ok = fail_reading(self, strerror(errno), err);
        if (got <= 0)
            continue;
        SHA256Update(&hash, (const uint8_t *)block, (size_t)got);
        self->bytes += got;
        ok = fd == self->fd || write_all(self, block, (size_t)got, err);
    }
    SHA256End(&hash, self->sha256);
    free(block);
    return ok;
}

/* A file without a name, which is gone when it is closed. */
static int
open_temporary(void)
{
    const char *folder = getenv("TMPDIR");
    char *path = lm_format("%s/luamig-input-XXXXXX",
                           folder != NULL && *folder != '\0' ? folder : "/tmp");
    int fd = mkostemp(path, O_CLOEXEC);

    if (fd >= 0)
        (void)unlink(path);
    free(path);
    return fd;
}

static bool
copy_stream(struct lm_input_file *self, int fd, struct lm_err *err)
{
    self->fd = open_temporary();
    return self->fd >= 0 ? take_all(self, fd, err)
                         : lm_err_set(err, LM_ERR_USAGE,
                                      "cannot make a temporary file for %s: %s",
                                      self->name, strerror(errno));
}

bool
lm_input_file_open(struct lm_input_file *self, const char *path,
                   struct lm_err *err)
{
    bool is_stdin = strcmp(path, "-") == 0;
    const char *last = strrchr(path, '/');
    struct stat about;
    bool ok;
    int fd;

    memset(self, 0, sizeof *self);
    self->fd = -1;
    self->name = lm_strdup(is_stdin       ? "standard input"
                           : last != NULL ? last + 1
                                          : path);
    fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &about) != 0)
        return fail_reading(self, strerror(errno), err);
    if (S_ISDIR(about.st_mode)) {
        ok = fail_reading(self, "it is a folder", err);
    } else if (S_ISREG(about.st_mode) && !is_stdin) {
        self->fd = fd;
        return take_all(self, fd, err);
    } else {
        ok = copy_stream(self, fd, err);
    }
    if (!is_stdin)
        close(fd);
    return ok;
}

void
lm_input_file_close(struct lm_input_file *self)
{
    if (self->name != NULL && self->fd >= 0)
        close(self->fd);
    free(self->name);
    memset(self, 0, sizeof *self);
}

/* -- errors ------------------------------------------------------------- */

bool
lm_input_place(const struct lm_input_file *file, int64_t line,
               const char *column, struct lm_err *err)
{
    struct lm_buf place = LM_BUF_INIT;
    char *detail = err->detail[0] != '\0' ? lm_strdup(err->detail) : NULL;

    lm_buf_puts(&place, file->name);
    if (line > 0)
        lm_buf_printf(&place, ", line %" PRId64, line);
    if (column != NULL)
        lm_buf_printf(&place, ", column \"%s\"", column);
    lm_err_prefix(err, "%s", lm_buf_text(&place));
    lm_buf_release(&place);
    err->kind = LM_ERR_FAILED;
    lm_err_detail(err, "%s%sNothing of the file is loaded.",
                  detail != NULL ? detail : "", detail != NULL ? "\n" : "");
    free(detail);
    return false;
}

bool
lm_input_fail(const struct lm_input_file *file, int64_t line,
              const char *column, struct lm_err *err, const char *format, ...)
{
    char message[512];
    va_list args;

    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    lm_err_set(err, LM_ERR_FAILED, "%s", message);
    return lm_input_place(file, line, column, err);
}

bool
lm_input_file_has_changed(const struct lm_input_file *self, struct lm_err *err)
{
    struct stat about;

    if (fstat(self->fd, &about) != 0 || about.st_size == self->bytes)
        return false;
    (void)lm_input_fail_changed(self, about.st_size, err);
    return true;
}

bool
lm_input_fail_changed(const struct lm_input_file *self, int64_t bytes,
                      struct lm_err *err)
{
    lm_input_fail(self, 0, NULL, err,
                  "the file has changed while luamig read it: it had %" PRId64
                  " bytes, and now it has %" PRId64,
                  self->bytes, bytes);
    return lm_err_hint(err, "Run the same command again when nobody writes the "
                            "file any more.");
}
