"""Who holds which slab of the time axis, and how slabs talk."""

from mgresnet.parallel.choose import as_time_comm as as_time_comm
from mgresnet.parallel.choose import launched
from mgresnet.parallel.choose import launched_ranks as launched_ranks
from mgresnet.parallel.clock import Account as Account
from mgresnet.parallel.comm import SerialComm as SerialComm
from mgresnet.parallel.comm import TimeComm as TimeComm
from mgresnet.parallel.endings import end_job_on_exception
from mgresnet.parallel.grid import ProcessGrid as ProcessGrid
from mgresnet.parallel.machine import MACHINES as MACHINES
from mgresnet.parallel.machine import Machine as Machine
from mgresnet.parallel.virtual import VirtualTimeComm as VirtualTimeComm

if launched():  # mishaps before the first call with a communicator count, too
    end_job_on_exception()
