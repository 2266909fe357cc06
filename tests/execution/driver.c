/* Fake libnvidia-ml.so.1 whose cards are the lines of the file $FAKE_CARDS.

   A line is  name|bus|uuid|capability|memory|free|load  (megabytes of 10^6 bytes; load -1: the card does not report it).
   If the file begins with "error N", every function returns N. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct { char name[96], bus[32], uuid[96]; int major, minor; unsigned long long memory, free; int load; } Card;
static Card cards[16];
static int count, failure;

static int load_cards(void) {
    FILE *file = fopen(getenv("FAKE_CARDS") ? getenv("FAKE_CARDS") : "", "r");
    char line[512];
    count = failure = 0;
    if (!file) return failure = 9; /* driver not loaded */
    while (count < 16 && fgets(line, sizeof line, file)) {
        Card *c = &cards[count];
        if (sscanf(line, "error %d", &failure) == 1) break;
        if (sscanf(line, "%95[^|]|%31[^|]|%95[^|]|%d.%d|%llu|%llu|%d",
                   c->name, c->bus, c->uuid, &c->major, &c->minor, &c->memory, &c->free, &c->load) == 8) count++;
    }
    fclose(file);
    return failure;
}
#define CARD(handle) ((Card *)(handle))
#define LOAD if (load_cards()) return failure
int nvmlInitWithFlags(unsigned flags) { (void)flags; return load_cards(); }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *n) { LOAD; *n = count; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **h) { LOAD; if (i >= (unsigned)count) return 2; *h = &cards[i]; return 0; }
int nvmlDeviceGetHandleByPciBusId_v2(const char *bus, void **h) {
    LOAD;
    for (int i = 0; i < count; i++) /* the driver accepts both notations of an address */
        if (!strcasecmp(bus + strlen(bus) - 7, cards[i].bus + strlen(cards[i].bus) - 7)) { *h = &cards[i]; return 0; }
    return 6;
}
int nvmlDeviceGetName(void *h, char *text, unsigned n) { snprintf(text, n, "%s", CARD(h)->name); return 0; }
int nvmlDeviceGetUUID(void *h, char *text, unsigned n) { snprintf(text, n, "%s", CARD(h)->uuid); return 0; }
typedef struct { char legacy[16]; unsigned domain, bus, device, id, subsystem; char busId[32]; } Pci;
int nvmlDeviceGetPciInfo_v3(void *h, Pci *p) { memset(p, 0, sizeof *p); strcpy(p->busId, CARD(h)->bus); return 0; }
int nvmlDeviceGetCudaComputeCapability(void *h, int *a, int *b) { *a = CARD(h)->major; *b = CARD(h)->minor; return 0; }
typedef struct { unsigned long long total, free, used; } Memory;
int nvmlDeviceGetMemoryInfo(void *h, Memory *m) {
    LOAD;
    m->total = CARD(h)->memory * 1000000; m->free = CARD(h)->free * 1000000; m->used = m->total - m->free;
    return 0;
}
typedef struct { unsigned gpu, memory; } Rates;
int nvmlDeviceGetUtilizationRates(void *h, Rates *r) {
    LOAD;
    if (CARD(h)->load < 0) return 3; /* not supported */
    r->gpu = CARD(h)->load; r->memory = 0;
    return 0;
}
int nvmlSystemGetDriverVersion(char *text, unsigned n) { LOAD; snprintf(text, n, "550.54.15"); return 0; }
int nvmlSystemGetCudaDriverVersion_v2(int *v) {
    LOAD; *v = getenv("FAKE_CUDA") ? atoi(getenv("FAKE_CUDA")) : 12040; return 0;
}
const char *nvmlErrorString(int e) { return e == 18 ? "Driver/library version mismatch" : "Unknown Error"; }
