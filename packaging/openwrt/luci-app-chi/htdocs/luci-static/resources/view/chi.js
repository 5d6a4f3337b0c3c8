// SPDX-License-Identifier: Apache-2.0
// What chi knows of the miner, and the options of /etc/config/chi. What a value must be is as in /etc/init.d/chi;
// the descriptions are those of chi-server --help and of the configuration file (packaging/openwrt/luci-texts).
'use strict';
'require dom';
'require form';
'require fs';
'require network';
'require poll';
'require rpc';
'require uci';
'require view';

const OCTET = '(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])';
const LABEL = '[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?';

const listServices = rpc.declare({
	object: 'service',
	method: 'list',
	params: [ 'name' ],
	expect: { '': {} }
});

function matches(value, pattern) {
	return new RegExp('^(?:' + pattern + ')$').test(value);
}

function isNumber(value, low, high) {
	return matches(value, '(0|[1-9][0-9]*)(\\.[0-9]+)?') && +value >= low && +value <= high;
}

function isIp4(value) {
	return matches(value, `(${OCTET}\\.){3}${OCTET}`);
}

function isIp6(value) {
	const tail = value.match(/:([^:]*\.[^:]*)$/);
	const address = tail ? value.slice(0, tail.index) + ':0:0' : value;
	const groups = address.split(':').filter(group => group !== '');

	return (!tail || isIp4(tail[1])) &&
		!/::.*::|:::|^:[^:]|[^:]:$|[^0-9a-fA-F:]/.test(address) &&
		groups.every(group => group.length <= 4) &&
		(address.includes('::') ? groups.length <= 7 : groups.length == 8);
}

function isHost(value) {
	if (value.includes(':')) {
		const [ address, zone ] = value.split(/%(.*)/s);
		return isIp6(address) && (zone === undefined || matches(zone, '[A-Za-z0-9_.-]+'));
	}
	return isIp4(value) || (value.length <= 253 &&
		matches(value, `(${LABEL}\\.)*${LABEL}\\.?`) && !matches(value, '(.*\\.)?[0-9]+\\.?'));
}

function isAllowed(value) {
	const [ address, length ] = value.split(/\/(.*)/s);
	const six = address.includes(':');

	return value == 'private' || ((six ? isIp6(address) : isIp4(address)) &&
		(length === undefined || (matches(length, '[0-9]+') && isNumber(length, 0, six ? 128 : 32))));
}

// Kinds: whether a value is one, and what to say if not.
const whole = (low, high) => [
	value => matches(value, '[0-9]+') && isNumber(value, low, high),
	_('Expecting: a whole number from %d to %d').format(low, high)
];
const number = (low, high) => [
	value => isNumber(value, low, high),
	_('Expecting: a number from %s to %s').format(low, high)
];
const like = (pattern, otherwise) => [ value => matches(value, pattern), otherwise ];
const host = [ isHost, _('Expecting: a host name or an IP address') ];
const allowed = [ isAllowed, _('Expecting: private, an address or a network such as 192.168.0.0/16') ];
const word = like('[A-Za-z0-9_.-]+', _('Expecting: a single name'));
const wordOrAny = like('\\*|[A-Za-z0-9_.-]+', _('Expecting: a single name or *'));
const origin = like('https?://([A-Za-z0-9_.-]+|\\[[0-9A-Fa-f:.]+\\])(:[0-9]+)?',
	_('Expecting: an origin such as http://grafana.lan:3000'));
const path = like('/[A-Za-z0-9_./-]+', _('Expecting: a plain path that begins with /'));

const minerName = like('[A-Za-z0-9][A-Za-z0-9._-]{0,62}',
	_('Expecting: up to 63 letters, digits, dots, dashes and underscores'));

function judge(option, [ isGood, otherwise ]) {
	option.validate = (section, value) => value === '' || isGood(value) || otherwise;
	return option;
}

// UCI has more words for yes and no than a checkbox.
function flag(option, preset) {
	option.default = preset;
	option.rmempty = false;
	option.load = section => {
		const value = uci.get('chi', section, option.option);
		return [ '1', 'on', 'true', 'yes', 'enabled' ].includes(value) ? '1' : (value == null ? null : '0');
	};
	return option;
}

function value(option, kind, preset) {
	option.placeholder = preset;
	return judge(option, kind);
}

// procd's instance and chi's answer, of which either may be missing.
function ask() {
	return Promise.all([
		L.resolveDefault(listServices('chi'), {}),
		L.resolveDefault(fs.exec('/etc/init.d/chi', [ 'verdict' ]), {})
	]).then(([ services, answer ]) => {
		const instances = Object.values(services?.chi?.instances ?? {});
		let status = null;

		try {
			status = JSON.parse(answer.stdout);
		} catch (e) { /* chi did not answer, or answered with an error */ }
		return { instance: instances.find(each => each.running), status };
	});
}

// In a sentence, of one miner or of several.
function summary(status) {
	const all = status?.totals;

	if (all)
		return _('%d of %d miners answer, %d earn.').format(all.answering, all.miners, all.earning);
	return status?.verdict?.sentence ?? _('The miner does not answer chi.');
}

// All text of chi's goes into text nodes: a miner has a say in it.
function describe({ instance, status }) {
	if (!instance)
		return [ E('em', [ _('chi does not run. The system log says why, if it should.') ]) ];

	const given = (instance.command ?? []).map(item => item.match(/^--http_port=(\d+)$/)).find(found => found);
	const page = `http://${location.hostname}:${given ? given[1] : 8080}/dashboard`;

	return [
		E('p', [ E('strong', [ summary(status) ]) ]),
		E('p', [
			_('chi runs, as process %d.').format(instance.pid), ' ',
			E('a', { href: page, target: '_blank', rel: 'noreferrer' }, [ _('Open its page') ])
		])
	];
}

return view.extend({
	load: function() {
		return Promise.all([ ask(), network.getNetworks(), uci.load('chi') ]);
	},

	render: function([ state, networks ]) {
		const box = E('div', { 'class': 'cbi-section', 'id': 'chi-state' }, describe(state));
		const m = new form.Map('chi', _('chi'),
			_('chi serves what a miner tells by the CGMiner API to browsers and monitors, over HTTP.'));
		const top = m.section(form.TypedSection);
		const s = m.section(form.NamedSection, 'main', 'chi');
		let o;

		top.anonymous = true;
		top.render = () => box;

		s.tab('service', _('Service'));
		s.tab('miner', _('Miner'));
		s.tab('access', _('Access'));
		s.tab('history', _('History'));

		flag(s.taboption('service', form.Flag, 'enabled', _('Enabled'),
			_('0 stops chi, also after an upgrade, which starts a service that was only stopped or disabled.')), '1');

		o = s.taboption('service', form.MultiValue, 'interface', _('Networks'),
			_('The network (or several, separated by spaces) on whose addresses chi serves. It waits for them at boot and follows them. * is every address.'));
		o.value('*', _('every address'));
		new Set([ ...networks.map(each => each.getName()), ...L.toArray(uci.get('chi', 'main', 'interface')) ])
			.forEach(name => name == '*' || o.value(name));
		o.default = 'lan';
		o.write = (section, names) => {
			const text = L.toArray(names).includes('*') ? '*' : L.toArray(names).join(' ');
			if (text != uci.get('chi', section, 'interface'))
				uci.set('chi', section, 'interface', text);
		};

		value(s.taboption('service', form.Value, 'http_port', _('Port'),
			_('The port to serve on, from 1024 up.')), whole(1024, 65535), '8080');

		o = s.taboption('service', form.ListValue, 'log_level', _('Log level'),
			_('Minimum level of messages to log to standard error'));
		[ 'debug', 'info', 'warning', 'error' ].forEach(level => o.value(level));
		o.default = 'info';

		value(s.taboption('miner', form.Value, 'api_host', _('Host'),
			_('Host name/address used by API server')), host, '127.0.0.1');

		value(s.taboption('miner', form.Value, 'api_port', _('Port of its API'),
			_('Port used by API server')), whole(1, 65535), '4028');

		o = s.taboption('miner', form.ListValue, 'protocol', _('Protocol'),
			_('Protocol of the miner\'s API; cpuminer, ccminer and their forks use text'));
		[ 'auto', 'json', 'text' ].forEach(protocol => o.value(protocol));
		o.default = 'auto';

		value(s.taboption('miner', form.Value, 'timeout', _('Timeout'),
			_('Time limit for answering a request')), number(0.1, 3600), '4');

		value(s.taboption('miner', form.Value, 'threads', _('Requests at once'),
			_('Maximum number of concurrent requests to the miner')), whole(1, 64), '4');

		value(s.taboption('miner', form.Value, 'max_age', _('Greatest age'),
			_('Cache reports for this many seconds; 0 always asks the miner')), number(0, 3600), '0');

		flag(s.taboption('access', form.Flag, 'read_only', _('Only reports'),
			_('1: only reports. 0: also what changes the miner, such as a restart or other pools, as far as the miner\'s API lets this host (--api-allow), for those who have the token of token_file.')), '1');

		o = flag(s.taboption('access', form.Flag, 'open', _('Open to all'),
			_('With read_only 0, 1: everybody who reaches chi can change the miner, without a token.')), '0');
		o.depends('read_only', '0');

		o = value(s.taboption('access', form.Value, 'token_file', _('File with the token'),
			_('With read_only 0: what changes the miner needs the token in this file, which is the user chi\'s. After the token was changed, /etc/init.d/chi reload makes chi use it.')), path, '/etc/chi.token');
		o.depends({ read_only: '0', open: '0' });

		o = value(s.taboption('access', form.DynamicList, 'allow', _('Who may connect'),
			_('Who may connect at all: private is this device and private, link-local and unique local networks; others are added by a line each, such as 100.64.0.0/10 (Tailscale) or the prefix of one\'s own IPv6.')), allowed, 'private');
		o.default = [ 'private' ];

		value(s.taboption('access', form.DynamicList, 'report', _('Further reports'),
			_('Treat this command as a report; may be repeated')), word, 'temps');

		value(s.taboption('access', form.DynamicList, 'host', _('Further host names'),
			_('Host name by which clients may address this server; * allows any; may be repeated')), wordOrAny, 'rig.example.org');

		value(s.taboption('access', form.DynamicList, 'cors_origin', _('Web applications'),
			_('Allow pages of this origin, such as http://grafana.lan:3000, to read reports; may be repeated')), origin, 'http://grafana.lan:3000');

		flag(s.taboption('access', form.Flag, 'metrics_pool_user', _('Show users of pools'),
			_('Include pool users, often wallets, in /metrics and /status.json')), '0');

		value(s.taboption('history', form.Value, 'history', _('Minutes'),
			_('Minutes of history to keep for the charts; chi asks the miner every 15 s; 0 disables it')), whole(0, 1440), '60');

		const miners = m.section(form.GridSection, 'miner', _('Several miners'),
			_('One chi serves them all, each below its name. The host and the port above then have no use.'));
		miners.anonymous = true;
		miners.addremove = true;
		o = judge(miners.option(form.Value, 'name', _('Name')), minerName);
		o.load = section => uci.get('chi', section, 'name') ??
			(uci.get('chi', section)['.anonymous'] ? null : section);
		o.rmempty = false;
		o.editable = true;
		o = judge(miners.option(form.Value, 'host', _('Host')), host);
		o.rmempty = false;
		o.editable = true;
		o = value(miners.option(form.Value, 'port', _('Port of its API')), whole(1, 65535), '4028');
		o.editable = true;

		poll.add(() => ask().then(now => dom.content(box, describe(now))), 10);

		return m.render();
	}
});
