/* The first process of a pod: keeps its namespaces alive, buries orphaned processes, leaves when told to.
 *
 * All signals of interest are blocked and taken one after another, so no handler and no race is needed.
 */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
    sigset_t wanted;

    if (getpid() != 1)
        fputs("pause: not the first process, orphans of others are not seen\n", stderr);

    sigemptyset(&wanted);
    sigaddset(&wanted, SIGCHLD);
    sigaddset(&wanted, SIGINT);
    sigaddset(&wanted, SIGTERM);
    if (sigprocmask(SIG_BLOCK, &wanted, NULL) < 0) {
        perror("pause: sigprocmask");
        return 1;
    }

    for (;;) {
        int signal = sigwaitinfo(&wanted, NULL);

        if (signal == SIGINT || signal == SIGTERM)
            return 0;
        if (signal < 0 && errno != EINTR) {
            perror("pause: sigwaitinfo");
            return 1;
        }
        /* One SIGCHLD may stand for several ended children. */
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
    }
}
