// What LuCI's documented client API does, as far as chi's page uses it: modules, E(), uci, rpc, fs, network, poll
// and form with its options. `window.router` is the router: its configuration, and what its methods answer.
// What is saved goes to `router.saved`; what is called goes to `router.called`.
'use strict';

window._ = text => (router.translated.push(text), text);

String.prototype.format = function (...values) {
	return this.replace(/%[sd]/g, () => values.shift());
};

window.L = {
	toArray: value => value == null ? [] : Array.isArray(value) ? value : String(value).trim().split(/\s+/).filter(item => item),
	resolveDefault: (promise, preset) => Promise.resolve(promise).catch(() => preset)
};

// A string is HTML, and so is each string that is no array's.
function append(node, children) {
	if (Array.isArray(children))
		children.filter(each => each != null).forEach(each => node.append(each));
	else if (children instanceof Node)
		node.append(children);
	else if (children != null)
		node.innerHTML = children;
	return node;
}

window.E = (tag, attributes, children) => {
	if (Array.isArray(tag))
		return append(document.createDocumentFragment(), attributes);
	if (Array.isArray(attributes) || typeof attributes == 'string' || attributes instanceof Node)
		[ attributes, children ] = [ {}, attributes ];
	const node = document.createElement(tag);
	for (const [ name, value ] of Object.entries(attributes ?? {}))
		typeof value == 'function' ? node.addEventListener(name, value) : node.setAttribute(name, value);
	return append(node, children);
};

const dom = { content: (node, children) => (node.replaceChildren(), append(node, children)) };

const uci = {
	load: config => { router.called.push([ 'uci', 'load', config ]); return Promise.resolve(); },
	get: (config, section, option) => {
		const found = router.config[section];
		return option == null ? found : found?.[option];
	},
	sections: (config, type) => Object.values(router.config).filter(each => !type || each['.type'] == type),
	set: (config, section, option, value) => {
		router.config[section][option] = value;
		(router.saved[section] ??= {})[option] = value;
	},
	unset: (config, section, option) => {
		if (router.config[section]?.[option] == null)
			return;
		delete router.config[section][option];
		(router.saved[section] ??= {})[option] = null;
	},
	add: (config, type) => {
		const name = `new${Object.keys(router.config).length}`;
		router.config[name] = { '.name': name, '.type': type, '.anonymous': true };
		return name;
	},
	remove: (config, section) => { delete router.config[section]; router.saved[section] = null; }
};

const rpc = {
	declare: ({ object, method, params }) => (...values) => {
		router.called.push([ 'ubus', object, method ]);
		const answer = router.ubus[`${object} ${method}`];
		return answer ? Promise.resolve(answer(Object.fromEntries(params.map((name, i) => [ name, values[i] ]))))
			: Promise.reject(new Error('no permission'));
	}
};

const fs = {
	exec: (command, words) => {
		const line = [ command, ...words ].join(' ');
		router.called.push([ 'file', line, 'exec' ]);
		return router.exec[line] ? Promise.resolve(router.exec[line]()) : Promise.reject(new Error('no permission'));
	}
};

const network = { getNetworks: () => Promise.resolve(router.networks.map(name => ({ getName: () => name }))) };
const poll = { add: (what, seconds) => router.polled.push({ what, seconds }) };
const view = { extend: members => members };

// --- form ------------------------------------------------------------------------------------------

class Value {
	constructor(map, section, option, title, description) {
		Object.assign(this, { map, section, option, title, description });
		Object.assign(this, { rmempty: true, optional: false, choices: [], conditions: [], fields: {}, loaded: {}, nodes: {}, errors: {} });
		this.write ??= (section, value) => uci.set(map.config, section, option, value);
		this.remove ??= section => uci.unset(map.config, section, option);
		this.load ??= section => uci.get(map.config, section, option);
		this.validate = () => true;
	}
	value(key, text) { this.choices.push([ key, text ?? key ]); }
	depends(name, value) { this.conditions.push(typeof name == 'object' ? name : { [name]: value }); }
	cfgvalue(section) { return this.loaded[section]; }
	isActive(section) {
		return !this.conditions.length || this.conditions.some(each => Object.entries(each).every(([ name, wanted ]) => {
			const other = this.section.options.find(option => option.option == name);
			return other.isActive(section) && other.formvalue(section) == wanted;
		}));
	}
	widget(section, value) {
		return E('input', { type: 'text', value: value ?? '', placeholder: this.placeholder ?? '' });
	}
	formvalue(section) { return this.fields[section].value; }
	problem(section) {
		const value = this.formvalue(section);
		if ((value == null || value === '') && !this.rmempty && !this.optional)
			return _('Expecting: non-empty value');
		const judged = this.validate(section, value ?? '');
		return judged === true ? null : judged;
	}
	row(section) {
		const value = this.cfgvalue(section) ?? this.default;
		const field = this.fields[section] = this.widget(section, value);
		field.id = `widget.cbid.${this.map.config}.${section}.${this.option}`;
		this.errors[section] = E('div', { 'class': 'error' });
		return this.nodes[section] = E('div', { 'class': 'cbi-value', 'data-name': this.option }, [
			E('label', { 'class': 'cbi-value-title', 'for': field.id }, this.title),
			E('div', { 'class': 'cbi-value-field' }, [
				field, this.errors[section], E('div', { 'class': 'cbi-value-description' }, this.description)
			])
		]);
	}
	parse(section) {
		if (!this.isActive(section))
			return this.retain || this.remove(section);
		const value = this.formvalue(section), problem = this.problem(section);
		if (problem)
			throw new TypeError(`${this.title}: ${problem}`);
		if (value == null || value === '' || (Array.isArray(value) && !value.length))
			return this.remove(section);
		if (JSON.stringify(value) != JSON.stringify(this.cfgvalue(section)))
			return this.write(section, value);
	}
}

class Flag extends Value {
	constructor(...all) { super(...all); this.default = '0'; }
	widget(section, value) {
		const field = E('input', { type: 'checkbox' });
		field.checked = value == '1';
		return field;
	}
	formvalue(section) { return this.fields[section].checked ? '1' : '0'; }
	parse(section) {
		if (!this.isActive(section))
			return this.retain || this.remove(section);
		const value = this.formvalue(section);
		return value == this.default && (this.optional || this.rmempty) ? this.remove(section) : this.write(section, value);
	}
}

class ListValue extends Value {
	widget(section, value) {
		const field = E('select', {}, this.choices.map(([ key, text ]) => E('option', { value: key }, [ text ])));
		field.value = value;
		return field;
	}
}

class MultiValue extends Value {
	widget(section, value) {
		const chosen = L.toArray(value);
		const field = E('select', { multiple: '' }, this.choices.map(([ key, text ]) => E('option', { value: key }, [ text ])));
		[ ...field.options ].forEach(each => { each.selected = chosen.includes(each.value); });
		return field;
	}
	formvalue(section) { return [ ...this.fields[section].selectedOptions ].map(each => each.value); }
	problem() { return null; }
}

// A line for each item, and one for another.
class DynamicList extends Value {
	widget(section, value) {
		const field = E('div', { 'class': 'cbi-dynlist' });
		const line = text => E('input', { type: 'text', value: text, placeholder: this.placeholder ?? '' });
		append(field, [ ...L.toArray(value), '' ].map(line));
		field.another = () => field.append(line(''));
		return field;
	}
	formvalue(section) { return [ ...this.fields[section].children ].map(each => each.value).filter(text => text); }
	problem(section) {
		return this.formvalue(section).map(text => this.validate(section, text)).find(judged => judged !== true) ?? null;
	}
}

class Section {
	constructor(map, type, title, description) {
		Object.assign(this, { map, sectiontype: type, title, description, options: [], tabs: [] });
	}
	tab(name, title) { this.tabs.push([ name, title ]); }
	option(Kind, ...rest) {
		const option = new Kind(this.map, this, ...rest);
		this.options.push(option);
		return option;
	}
	taboption(tab, ...rest) { return Object.assign(this.option(...rest), { tab }); }
	sections() { return uci.sections(this.map.config, this.sectiontype).map(each => each['.name']); }
	async load() {
		for (const section of this.sections())
			for (const option of this.options)
				option.loaded[section] = await option.load(section);
	}
	parse() { this.sections().forEach(section => this.options.forEach(option => option.parse(section))); }
	update() {
		for (const section of this.sections())
			for (const option of this.options) {
				const [ node, error ] = [ option.nodes[section], option.errors[section] ];
				node.hidden = !option.isActive(section);
				error.textContent = node.hidden ? '' : option.problem(section) ?? '';
				option.fields[section].classList.toggle('cbi-input-invalid', !!error.textContent);
			}
	}
	render() {
		const rows = section => (this.tabs.length ? this.tabs : [ [ undefined, null ] ]).map(([ tab, title ]) =>
			E('fieldset', { 'data-tab': tab ?? '' }, [
				title && E('legend', title),
				...this.options.filter(each => each.tab == tab).map(each => each.row(section))
			]));
		return E('div', { 'class': 'cbi-section' }, [
			this.title && E('h3', this.title), this.description && E('div', this.description),
			...this.sections().flatMap(rows)
		]);
	}
}

class TypedSection extends Section {}

class NamedSection extends Section {
	constructor(map, name, type, ...rest) { super(map, type, ...rest); this.name = name; }
	sections() { return router.config[this.name] ? [ this.name ] : []; }
}

// A table: a section is a row, and the last button adds one.
class GridSection extends TypedSection {
	render() {
		const again = () => box.replaceWith(this.render());
		const box = E('div', { 'class': 'cbi-section', 'data-type': this.sectiontype }, [
			E('h3', this.title), E('div', this.description),
			E('table', {}, [
				E('tr', this.options.map(each => E('th', each.title))),
				...this.sections().map(section => E('tr', { 'data-section': section }, [
					...this.options.map(each => E('td', [ each.row(section) ])),
					E('td', [ E('button', { click: () => { uci.remove(this.map.config, section); again(); } }, _('Delete')) ])
				]))
			]),
			E('button', { 'class': 'add', click: () => { uci.add(this.map.config, this.sectiontype); again(); } }, _('Add'))
		]);
		return box;
	}
}

class FormMap {
	constructor(config, title, description) {
		Object.assign(this, { config, title, description, children: [] });
		router.maps.push(this);
	}
	section(Kind, ...rest) {
		const section = new Kind(this, ...rest);
		this.children.push(section);
		return section;
	}
	async render() {
		for (const each of this.children)
			await each.load();
		const map = E('div', { 'class': 'cbi-map' }, [ E('h2', this.title), E('div', this.description) ]);
		for (const each of this.children)
			map.append(await each.render());
		map.addEventListener('input', () => this.update());
		map.addEventListener('change', () => this.update());
		this.update();
		return map;
	}
	update() { this.children.forEach(each => each.update()); }
	save() { this.children.forEach(each => each.parse()); }
}

const form = { Map: FormMap, NamedSection, TypedSection, GridSection, Value, Flag, ListValue, MultiValue, DynamicList };

// --- The page --------------------------------------------------------------------------------------

window.show = async source => {
	const modules = { dom, form, fs, network, poll, rpc, uci, view };
	const wanted = [ ...source.matchAll(/^'require ([\w.]+)(?: as (\w+))?';$/gm) ].map(found => [ found[1], found[2] ?? found[1] ]);
	const made = new Function(...wanted.map(each => each[1]), source)(...wanted.map(each => modules[each[0]]));
	document.getElementById('view').append(await made.render(await made.load()));
	document.getElementById('save').addEventListener('click', () => {
		const told = document.getElementById('told');
		try {
			router.maps.forEach(map => map.save());
			told.textContent = 'saved';
		} catch (error) {
			told.textContent = error.message;
		}
	});
};
