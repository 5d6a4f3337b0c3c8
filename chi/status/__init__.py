"""What replies mean: pure, with no I/O and no clock.

One `Status` from the replies of any firmware, and what monitors read of it::

    firmware.next_request() --asked by the caller--> firmware.members() --> replies by command
                                                                                   |
        prometheus.prometheus(): text format 0.0.4  <--  Status  <--  firmware.normalise()
        model.to_json(): what /status.json says     <----+
        history.History: samples over time          <----+
"""
